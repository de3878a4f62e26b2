"""Flights over areas: outlines, terrain, the number of views that is promised."""

import itertools
import json
import math
import zipfile

import numpy as np
import pytest

from rilievo.capture import outlines
from rilievo.capture.area import AreaSettings, plan_area
from rilievo.capture.coverage import Obstacles, view_counts
from rilievo.capture.gear import Gear, find_gear
from rilievo.capture.places import Plane, course_deg, utm_from_degrees
from rilievo.capture.terrain import Raster, lay_out, read_raster
from rilievo.errors import InputError, MissingError

PLANE = Plane(46.02, 8.95)
P4 = find_gear("DJI Phantom 4 Pro")


def degrees(*corners):
    return PLANE.to_degrees(np.array(corners, float))


SQUARE = degrees((0, 0), (200, 0), (200, 200), (0, 200))
BENT = degrees((0, 0), (300, 40), (280, 160), (150, 140), (120, 260), (-20, 240))


def hills(step=4.0, size=520, roofs=((60, 60), (140, 120), (30, 170))):
    """A slope with hills and houses of 9 m, as a raster in degrees."""
    cell = math.degrees(step / 6.371e6)
    rows, columns = int(size / step), int(size / step / math.cos(math.radians(46.02)))
    corner = degrees((-150, 350))[0]
    latitude, longitude = corner[0] - cell * np.arange(rows), corner[1] + cell * np.arange(columns)
    X = np.stack(np.broadcast_arrays(latitude[:, None], longitude[None]), -1).reshape(-1, 2)
    xy = PLANE.from_degrees(X[:, 0], X[:, 1])
    z = 310 + 0.1 * xy[:, 0] + 8 * np.sin(xy[:, 0] / 80) * np.cos(xy[:, 1] / 90)
    for x, y in roofs:
        house = (np.abs(xy - [x, y]) < [9, 8]).all(1)
        z[house] = z[house].max() + 9
    return Raster(z.reshape(rows, columns), float(longitude[0]), float(latitude[0]), cell, cell, "EPSG:4326")


# --- places -----------------------------------------------------------------------------------------------------------


def test_plane_and_back():
    xy = np.random.default_rng(0).uniform(-3000, 3000, (50, 2))
    there = PLANE.to_degrees(xy)
    assert np.abs(PLANE.from_degrees(there[:, 0], there[:, 1]) - xy).max() < 1e-6
    # a minute of latitude is a nautical mile, nearly
    north = PLANE.from_degrees(np.array([46.02 + 1 / 60]), np.array([8.95]))[0]
    assert north[1] == pytest.approx(1852.5, abs=2) and abs(north[0]) < 1e-6
    assert course_deg(np.array([1.0, 0.0])) == 90 and course_deg(np.array([0.0, -1.0])) == 180


def test_utm():
    # on the middle meridian at the equator: 500 km, 0; and published places
    assert utm_from_degrees(np.array([0.0]), np.array([9.0]), 32, False)[0] == pytest.approx([500000, 0], abs=1e-6)
    opera = utm_from_degrees(np.array([-33.8568]), np.array([151.2153]), 56, True)[0]
    assert opera == pytest.approx([334900.6, 6252288.8], abs=0.2)
    # scale on the middle meridian: 0.9996 of the distance on the ellipsoid
    a, b = utm_from_degrees(np.array([46.0, 46.001]), np.array([9.0, 9.0]), 32, False)[:, 1]
    degree = 111132.954 - 559.822 * math.cos(math.radians(92.001)) + 1.175 * math.cos(math.radians(184.002))
    assert (b - a) / 0.9996 == pytest.approx(degree / 1000, abs=1e-4)


# --- outlines ---------------------------------------------------------------------------------------------------------


def geojson(points):
    ring = [[lon, lat] for lat, lon in points]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def kml(points):
    ring = " ".join(f"{lon},{lat},0" for lat, lon in [*points, points[0]])
    return (
        '<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><Polygon><outerBoundaryIs>'
        f"<LinearRing><coordinates>{ring}</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark></Document></kml>"
    )


def test_outlines_of_all_kinds(tmp_path):
    feature = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": geojson(BENT)}],
    }
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    (tmp_path / "b.kml").write_text(kml(BENT))
    with zipfile.ZipFile(tmp_path / "c.kmz", "w") as archive:
        archive.writestr("doc.kml", kml(BENT))
    for name in ("a.geojson", "b.kml", "c.kmz"):
        found, notes = outlines.read_outline(tmp_path / name)
        assert np.allclose(found, BENT, atol=1e-9) and not notes


def test_bad_outlines_are_explained(tmp_path):
    two = {"type": "GeometryCollection", "geometries": [geojson(BENT), geojson(SQUARE)]}
    bow = degrees((0, 0), (100, 100), (100, 0), (0, 100))
    cases = {
        "empty.geojson": b"", "noise.geojson": bytes(range(200)), "noise.kmz": b"PK\x03\x04 damaged",
        "line.geojson": json.dumps({"type": "LineString", "coordinates": [[8, 46], [8, 47]]}).encode(),
        "two.geojson": json.dumps(two).encode(), "bow.geojson": json.dumps(geojson(bow)).encode(),
        "metres.geojson": json.dumps(geojson([(5e6, 4e5), (5e6 + 100, 4e5), (5e6 + 100, 4e5 + 100)])).encode(),
        "flat.geojson": json.dumps(geojson(degrees((0, 0), (10, 0)))).encode(),
        "large.geojson": json.dumps(geojson([(46, 8), (47, 8), (47, 9)])).encode(),
        "nan.geojson": b'{"type":"Polygon","coordinates":[[[8,46],[8,NaN],[9,46]]]}',
        "list.geojson": b"[1, 2]",
        "entities.kml": b'<!DOCTYPE kml [<!ENTITY a "aaaa">]><kml>&a;</kml>',
        "cut.kml": kml(BENT)[:200].encode(),
    }  # fmt: skip
    for name, raw in cases.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(InputError) as error:
            outlines.read_outline(tmp_path / name)
        assert error.value.why or error.value.hint, name
    with pytest.raises(InputError):
        outlines.read_outline(tmp_path / "absent.kml")


def test_holes_are_told():
    ring = geojson(SQUARE)
    ring["coordinates"].append([[lon, lat] for lat, lon in degrees((50, 50), (60, 50), (60, 60), (50, 50))])
    assert outlines._geojson_shapes(json.dumps(ring).encode())[0][0][1] == 1


def test_lines_by_hand():
    square = np.array([[0, 0], [200, 0], [200, 100], [0, 100.0]])
    assert outlines.area(square) == 20_000
    assert outlines.best_angle(square) == pytest.approx(0)  # along the long side
    assert outlines.inside(square, np.array([[10, 10.0], [210, 10], [-1, 50]])).tolist() == [True, False, False]
    lines = outlines.sweep(square, 0.0, 30.0, 20.0, (40.0, 60.0))
    # across: 220 m in steps of at most 30 are 8 gaps; along: 280 m in steps of 20 are 15 photos
    assert len(lines) == 9 and all(len(line) == 15 for line in lines)
    ys = np.array([line[0, 1] for line in lines])
    assert ys[0] == pytest.approx(-60) and ys[-1] == pytest.approx(160) and np.diff(ys) == pytest.approx(27.5)
    assert lines[0][0, 0] == pytest.approx(-40) and lines[1][0, 0] == pytest.approx(240)  # back and forth
    turned = outlines.sweep(square @ np.array([[0, 1], [-1, 0.0]]), math.pi / 2, 30.0, 20.0, (40.0, 60.0))
    assert [len(line) for line in turned] == [15] * 9


# --- plans ------------------------------------------------------------------------------------------------------------


def counted(plan, points):
    normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    index = np.zeros(len(plan.stations.group), int)
    return view_counts(points, normals, [plan.camera], index, plan.stations.cam_from_world).counts


def test_grid_by_hand():
    # 80 m: 120 x 80 m of footprint; 80 % forward is 16 m, 70 % to the side 36 m; half a footprint of margin
    plan, flight = plan_area(P4, SQUARE, AreaSettings(height=80.0, angle_deg=90.0, plain=True))
    stations = plan.stations
    lines = [np.flatnonzero(stations.strip == s) for s in np.unique(stations.strip)]
    assert len(lines) == math.ceil((200 + 120) / 36) + 1 and len(lines[0]) == math.ceil((200 + 80) / 16 - 1e-3) + 1
    for line in lines:
        assert np.linalg.norm(np.diff(stations.centers[line], axis=0), axis=1) == pytest.approx(16.0, rel=1e-3)
    assert np.allclose(stations.centers[:, 2], 80, atol=1e-9)
    assert plan.gsd == pytest.approx(80 / P4.focal_px, rel=2e-4)
    # a photo in 2.5 s: 6.4 m/s, rounded down
    assert flight.speed_m_s == pytest.approx(6.3) and flight.interval_s >= 2.5
    assert plan.facts["exposure"]["slowest_shutter_s"] == pytest.approx(0.5 * plan.gsd / 6.3, rel=0.02)
    # inside, 5 forward times 3.3 to the side
    middle = counted(plan, np.array([[0.0, 0.0, 0.0]]))
    assert 15 <= middle[0] <= 20


def test_margin_and_roofs_decide_the_corners():
    """75/65 % planned on the ground without a margin leaves the corners of a 30 m roof with 2 photos."""
    spot = PLANE.from_degrees(SQUARE[:, 0], SQUARE[:, 1]) - PLANE.from_degrees(SQUARE[:, 0], SQUARE[:, 1]).mean(0)
    corners = {z: np.concatenate([spot, np.full((4, 1), z)], 1) for z in (0.0, 30.0)}
    asked = AreaSettings(height=80.0, overlap=0.75, side_overlap=0.65, margin=0.0, min_views=1, plain=True)
    bare, _ = plan_area(P4, SQUARE, asked)
    assert counted(bare, corners[0.0]).min() <= 6 and counted(bare, corners[30.0]).min() <= 2
    good, _ = plan_area(P4, SQUARE, AreaSettings(height=80.0, plain=True))
    assert counted(good, corners[0.0]).min() >= 15 and counted(good, corners[30.0]).min() >= 6
    roofs, _ = plan_area(P4, SQUARE, AreaSettings(height=80.0, roof_height=30.0, plain=True))
    assert counted(roofs, corners[30.0]).min() >= 15


@pytest.mark.parametrize("pattern", ["grid", "cross", "oblique", "orbit"])
def test_every_place_is_seen_often_enough(pattern):
    poor = AreaSettings(height=60.0, pattern=pattern, overlap=0.5, side_overlap=0.3, margin=0.0, roof_height=12.0)
    plan, flight = plan_area(P4, BENT, poor)
    assert plan.facts["guaranteed_views"] == 4 and plan.facts["worst_point"]["views"] >= 4
    outline = np.array(plan.facts["outline"])
    spots = np.random.default_rng(1).uniform(outline.min(0), outline.max(0), (600, 2))
    spots = spots[outlines.inside(outline, spots)]
    for z in (0.0, 12.0):
        assert counted(plan, np.concatenate([spots, np.full((len(spots), 1), z)], 1)).min() >= 4
    assert any("closer than the overlaps" in note for note in plan.notes) or pattern in ("oblique", "orbit", "cross")
    assert sum(flight.num_photos) == len(plan.stations.group)


def test_patterns_look_where_they_should():
    plan, _ = plan_area(P4, SQUARE, AreaSettings(height=60.0, pattern="oblique", tilt_deg=30.0))
    stations = plan.stations
    down = -stations.directions[:, 2]
    assert np.allclose(down[stations.group == 0], 1) and np.allclose(
        down[stations.group > 0], math.cos(math.radians(30))
    )
    courses = {tuple(np.round(stations.directions[stations.group == g][0, :2], 6)) for g in range(1, 5)}
    assert len(courses) == 4
    orbit, _ = plan_area(P4, SQUARE, AreaSettings(height=60.0, pattern="orbit"))
    ring = orbit.stations.group == orbit.stations.groups.index("orbit, high")
    to = -orbit.stations.centers[ring, :2] / np.linalg.norm(orbit.stations.centers[ring, :2], axis=1, keepdims=True)
    look = orbit.stations.directions[ring, :2]
    assert np.allclose(look / np.linalg.norm(look, axis=1, keepdims=True), to, atol=1e-4)


def test_corridor_by_hand():
    # a straight road of 400 m, 60 m wide, from 80 m: outer lines on its edges, 36 m apart at most: 3 lines
    road = degrees((0, 0), (400, 0))
    plan, flight = plan_area(P4, road, AreaSettings(height=80.0, pattern="corridor", width=60.0))
    stations = plan.stations
    assert stations.groups == ("along", "tilted, along")
    along = stations.centers[stations.group == 0] - stations.centers.mean(0)
    sides = np.unique(np.round(along[:, 1], 1) + 0.0)
    assert len(sides) == 3 and sides == pytest.approx([-30, 0, 30], abs=0.1)
    # 400 m and half a footprint (80 m) of margin at both ends in steps of 16 m
    assert (stations.group == 0).sum() in (3 * 31, 3 * 32)
    look = stations.directions[stations.group == 1]
    assert np.allclose(-look[:, 2], math.cos(math.radians(30)))
    assert np.abs(look[:, 0]).min() > 0.49 and (look[:, 0] > 0).any() and (look[:, 0] < 0).any()
    assert plan.asked["area_m2"] == pytest.approx(400 * 60, rel=0.001)
    assert sum(flight.num_photos) == len(stations.group)


def test_a_bent_corridor_is_seen_everywhere():
    course = [(0, 0), (150, 20), (220, 140), (200, 300), (320, 300), (330, 250)]
    poor = AreaSettings(height=50.0, pattern="corridor", width=50.0, overlap=0.6, side_overlap=0.4, roof_height=8.0)
    plan, _ = plan_area(P4, degrees(*course), poor)
    assert plan.facts["guaranteed_views"] == 4
    middle = degrees(*course).mean(0)
    path = Plane(*middle).from_degrees(*degrees(*course).T)
    spots = np.random.default_rng(0).uniform(path.min(0) - 30, path.max(0) + 30, (4000, 2))
    away = np.full(len(spots), np.inf)
    for a, b in itertools.pairwise(path):
        t = np.clip((spots - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)[:, None]
        away = np.minimum(away, np.linalg.norm(spots - a - t * (b - a), axis=1))
    band = spots[away < 25]
    assert len(band) > 500
    for z in (0.0, 8.0):
        assert counted(plan, np.concatenate([band, np.full((len(band), 1), z)], 1)).min() >= 4
    # and no photos far away from it: a grid over its box takes far more
    grid, _ = plan_area(P4, degrees((0, 0), (330, 0), (330, 300), (0, 300)), AreaSettings(height=50.0))
    assert len(plan.stations.group) < len(grid.stations.group)
    border = np.array(plan.facts["outline"])
    ahead = np.stack([(path[1] - path[0]), (path[-2] - path[-1])])
    ends = ((band - path[0]) @ ahead[0] < 0) | ((band - path[-1]) @ ahead[1] < 0)
    assert outlines.inside(border, band[~ends]).mean() > 0.99


def test_corridors_follow_terrain():
    plan, _ = plan_area(
        P4, degrees((0, 0), (200, 60)), AreaSettings(height=60.0, pattern="corridor", width=30.0), hills()
    )
    assert np.ptp(plan.stations.centers[:, 2]) > 15 and plan.facts["guaranteed_views"] == 4


def test_lines_are_read_as_courses(tmp_path):
    points = degrees((0, 0), (150, 20), (220, 140))
    line = {"type": "LineString", "coordinates": [[lon, lat] for lat, lon in points]}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "Feature", "geometry": line}))
    text = " ".join(f"{lon},{lat}" for lat, lon in points)
    (tmp_path / "b.kml").write_text(
        f"<kml><Placemark><LineString><coordinates>{text}</coordinates></LineString></Placemark></kml>"
    )
    for name in ("a.geojson", "b.kml"):
        assert np.allclose(outlines.read_course(tmp_path / name), points, atol=1e-9)
        with pytest.raises(InputError, match="one outline") as error:
            outlines.read_outline(tmp_path / name)
        assert "corridor" in error.value.hint
    (tmp_path / "c.geojson").write_text(json.dumps(geojson(BENT)))
    with pytest.raises(InputError, match="one line"):
        outlines.read_course(tmp_path / "c.geojson")
    for settings in (
        AreaSettings(height=60.0, pattern="corridor"), AreaSettings(height=60.0, width=30.0),
        AreaSettings(height=60.0, pattern="corridor", width=0.1),
    ):  # fmt: skip
        with pytest.raises(InputError):
            plan_area(P4, points, settings)
    with pytest.raises(InputError, match="length"):
        plan_area(P4, points[[0, 0]] + [[0, 0], [1e-9, 0]], AreaSettings(height=60.0, pattern="corridor", width=9.0))


def test_a_grid_has_tilted_passes_for_the_focal_length():
    plan, _ = plan_area(P4, BENT, AreaSettings(height=60.0))
    tilted = plan.stations.group == plan.stations.groups.index("tilted, across")
    look = plan.stations.directions
    assert np.allclose(-look[tilted, 2], math.cos(math.radians(30))) and np.allclose(-look[~tilted, 2], 1)
    first = look[tilted][0, :2]
    assert {1, -1} == set(np.round(look[tilted, :2] @ first / (first @ first)).astype(int))
    assert "tilted, across" not in plan_area(P4, BENT, AreaSettings(height=60.0, plain=True))[0].stations.groups


def test_terrain_is_followed_and_counted_on():
    raster = hills()
    plan, flight = plan_area(P4, SQUARE, AreaSettings(height=60.0, plain=True), raster)
    assert plan.place is not None
    assert plan.place[2] == pytest.approx(raster.at_degrees(SQUARE[:1, 0], SQUARE[:1, 1])[0])
    terrain = plan.triangles
    points = terrain.reshape(-1, 3)
    stations = plan.stations.centers
    some = stations[::7]
    nearest = [np.linalg.norm(points[:, :2] - s[:2], axis=1).argmin() for s in some]
    assert np.linalg.norm(points[nearest, :2] - some[:, :2], axis=1).max() < 8
    height = some[:, 2] - points[nearest, 2]
    assert np.ptp(stations[:, 2]) > 15 and np.median(height) == pytest.approx(60, abs=2) and height.min() > 45
    # counted again, on the raster itself, roofs among the points, houses in the way
    outline = np.array(plan.facts["outline"])
    spots = np.stack(np.meshgrid(np.linspace(-95, 95, 30), np.linspace(-95, 95, 30)), -1).reshape(-1, 2)
    spots = spots[outlines.inside(outline, spots)]
    plane = Plane(plan.place[0], plan.place[1], plan.place[2])
    where = plane.to_degrees(spots)
    z = raster.at_degrees(where[:, 0], where[:, 1]) - plane.height
    flat = np.array([np.ptp(z[np.linalg.norm(spots - p, axis=1) < 14]) < 5 for p in spots])
    index = np.zeros(len(stations), int)
    tops = np.concatenate([spots, z[:, None] + 0.3], 1)[flat]
    seen = view_counts(tops, None, [plan.camera], index, plan.stations.cam_from_world, obstacles=Obstacles(terrain))
    assert seen.counts.min() >= 4
    assert flight.height_above_ground_m < 80


def test_tops_are_cleared():
    tower = hills(roofs=())
    column = np.abs(PLANE.from_degrees(*(np.array([v]) for v in (46.02, 8.95))) - 0).sum()
    assert column < 1e-6
    z = tower.heights.copy()
    row, col = (np.array(z.shape) * [0.5, 0.5]).astype(int)
    z[row : row + 3, col : col + 3] += 55
    high = Raster(z, tower.x0, tower.y0, tower.dx, tower.dy, tower.crs)
    plan, _ = plan_area(P4, SQUARE, AreaSettings(height=60.0, clearance=20.0), high)
    top = plan.triangles.reshape(-1, 3)
    peak = top[top[:, 2].argmax()]
    near = np.linalg.norm(plan.stations.centers[:, :2] - peak[:2], axis=1) < 20
    assert near.any() and plan.stations.centers[near, 2].min() >= peak[2] + 19.9


def test_batteries_and_time():
    small, big = (
        plan_area(P4, degrees((0, 0), (s, 0), (s, s), (0, s)), AreaSettings(height=80.0))[1] for s in (150, 600)
    )
    assert len(small.missions) == 1 and len(big.missions) > 1
    for flight in (small, big):
        assert max(flight.seconds) <= P4.drone.minutes * 60
        path = sum(flight.seconds) * flight.speed_m_s
        assert path > flight.length_m
    # a longer way home costs: far take-off needs more batteries, a very far one is refused
    far = degrees((0, -1500))[0]
    assert sum(plan_area(P4, SQUARE, AreaSettings(height=80.0, home=tuple(far)))[1].seconds) > sum(small.seconds)
    with pytest.raises(InputError, match="battery"):
        plan_area(P4, SQUARE, AreaSettings(height=80.0, home=tuple(degrees((0, -9000))[0])))


def test_flights_hold_no_more_waypoints_than_wished():
    wish = {"height": 80.0, "every_photo": True}
    whole = plan_area(P4, SQUARE, AreaSettings(**wish))[1]
    parts = plan_area(P4, SQUARE, AreaSettings(**wish, max_waypoints=20))[1]
    counts = [len(m.waypoints) for m in parts.missions]
    assert max(counts) <= 20 < len(whole.missions[0].waypoints)
    assert sum(parts.num_photos) == sum(whole.num_photos) == sum(counts)
    flown = [(w.latitude, w.longitude) for m in parts.missions for w in m.waypoints]
    assert flown == [(w.latitude, w.longitude) for m in whole.missions for w in m.waypoints]
    # DJI Fly takes 200
    fly = plan_area(find_gear("DJI Mini 4 Pro"), SQUARE, AreaSettings(height=30.0, every_photo=True))[1]
    assert sum(fly.num_photos) > 200 >= max(len(m.waypoints) for m in fly.missions)
    with pytest.raises(InputError, match="waypoints"):
        plan_area(P4, SQUARE, AreaSettings(height=80.0, max_waypoints=5))


def test_speed_is_limited_by_the_camera():
    with pytest.raises(InputError, match="photos would come"):
        plan_area(P4, SQUARE, AreaSettings(height=80.0, speed_m_s=9.0))
    assert plan_area(P4, SQUARE, AreaSettings(height=80.0, speed_m_s=4.0))[1].speed_m_s == 4.0


def test_warnings_and_bad_wishes():
    high, _ = plan_area(P4, SQUARE, AreaSettings(height=200.0))
    assert any("120 m is the limit" in note for note in high.notes)
    wide, _ = plan_area(P4, degrees((0, 0), (900, 0), (900, 80), (0, 80)), AreaSettings(height=80.0))
    assert any("in sight" in note for note in wide.notes)
    for gear, settings in (
        (find_gear("iPhone 13"), AreaSettings(height=80.0)), (P4, AreaSettings()),
        (P4, AreaSettings(height=8.0, roof_height=10.0)),
        (P4, AreaSettings(height=80.0, overlap=1.2)), (P4, AreaSettings(height=80.0, pattern="spiral")),
        (P4, AreaSettings(height=80.0, tilt_deg=85.0)), (P4, AreaSettings(height=-5.0)),
        (P4, AreaSettings(height=80.0, margin=9.0)),
        (P4, AreaSettings(height=80.0, pattern="orbit", orbit_radius=1e5)),
    ):  # fmt: skip
        with pytest.raises(InputError):
            plan_area(gear, SQUARE, settings)
    with pytest.raises(InputError, match="area"):
        plan_area(P4, degrees((0, 0), (100, 100), (200, 200.000001)), AreaSettings(height=80.0))
    with pytest.raises(InputError, match="does not cover"):
        plan_area(P4, SQUARE + 1.0, AreaSettings(height=80.0), hills())


# --- terrain files ----------------------------------------------------------------------------------------------------


def ascii_grid(path, grid, x0, y0, size, nodata=-9999):
    rows = "\n".join(" ".join(f"{v:g}" for v in row) for row in np.where(np.isnan(grid), nodata, grid))
    path.write_text(
        f"ncols {grid.shape[1]}\nnrows {grid.shape[0]}\nxllcorner {x0}\nyllcorner {y0}\ncellsize {size}\n"
        f"NODATA_value {nodata}\n{rows}\n"
    )


def test_ascii_grid(tmp_path):
    grid = np.arange(20.0).reshape(4, 5)
    grid[0, 0] = np.nan
    ascii_grid(tmp_path / "dem.asc", grid, 8.0, 46.0, 0.01)
    raster = read_raster(tmp_path / "dem.asc")
    # cell centres: 8.005 ..., row 0 in the north at 46.035
    assert raster.at_degrees(np.array([46.035, 46.005]), np.array([8.045, 8.005])).tolist() == pytest.approx(
        [4.0, 15.0]
    )
    assert raster.at_degrees(np.array([46.01]), np.array([8.01]))[0] == pytest.approx((10 + 11 + 15 + 16) / 4)
    assert np.isnan(raster.at_degrees(np.array([46.035, 50.0]), np.array([8.005, 8.0]))).all()


def test_utm_grid(tmp_path):
    east, north = utm_from_degrees(SQUARE[:1, 0], SQUARE[:1, 1], 32, False)[0]
    grid = 300 + np.tile(np.arange(60.0), (60, 1))
    ascii_grid(tmp_path / "dem.asc", grid, east - 100, north - 100, 10.0)
    with pytest.raises(InputError, match="coordinates"):
        read_raster(tmp_path / "dem.asc")
    raster = read_raster(tmp_path / "dem.asc", "epsg:32632")
    # 100 m east of the border lie 10 cells, the centre of the first half a cell in
    assert raster.at_degrees(SQUARE[:1, 0], SQUARE[:1, 1])[0] == pytest.approx(300 + 9.5, abs=1e-3)
    with pytest.raises((MissingError, InputError)):
        Raster(grid, 0, 0, 1, 1, "EPSG:2056x").at_degrees(SQUARE[:1, 0], SQUARE[:1, 1])


def test_geotiff(tmp_path):
    from PIL import Image, TiffImagePlugin

    grid = (100 + np.arange(30.0)).reshape(5, 6).astype(np.float32)
    grid[0, 0] = -9999
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550], tags[33922] = (0.01, 0.01, 0.0), (0.0, 0.0, 0.0, 8.0, 46.05, 0.0)
    tags[34735] = (1, 1, 0, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326)
    tags[42113] = "-9999"
    for tag, kind in ((33550, 12), (33922, 12), (34735, 3), (42113, 2)):
        tags.tagtype[tag] = kind
    Image.fromarray(grid).save(tmp_path / "dem.tif", tiffinfo=tags, compression="tiff_deflate")
    raster = read_raster(tmp_path / "dem.tif")
    assert raster.crs == "EPSG:4326"
    assert raster.at_degrees(np.array([46.045, 46.005]), np.array([8.015, 8.055])).tolist() == pytest.approx(
        [101.0, 129.0]
    )
    assert np.isnan(raster.at_degrees(np.array([46.045]), np.array([8.005]))[0])


def test_bad_terrain_is_explained(tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "photo.tif")
    Image.new("F", (8, 8)).save(tmp_path / "nowhere.tif")
    (tmp_path / "noise.tif").write_bytes(b"II*\x00" + bytes(50))
    (tmp_path / "noise.asc").write_bytes(bytes(range(256)))
    (tmp_path / "short.asc").write_text("ncols 3\nnrows 3\nxllcorner 8\nyllcorner 46\ncellsize 0.01\n1 2 3\n")
    (tmp_path / "huge.asc").write_text("ncols 300000\nnrows 300000\nxllcorner 8\nyllcorner 46\ncellsize 0.01\n1 2 3\n")
    (tmp_path / "words.asc").write_text("ncols three\nnrows 3\n")
    (tmp_path / "what.dat").write_text("")
    for name in (
        "photo.tif",
        "nowhere.tif",
        "noise.tif",
        "noise.asc",
        "short.asc",
        "huge.asc",
        "words.asc",
        "what.dat",
        "no.tif",
    ):
        with pytest.raises(InputError):
            read_raster(tmp_path / name)


def test_unknown_heights_are_filled_from_around():
    raster = hills()
    holed = raster.heights.copy()
    holed[40:60, 40:60] = np.nan
    low, high = np.array([-60.0, -60.0]), np.array([160.0, 160.0])
    terrain, unknown = lay_out(Raster(holed, raster.x0, raster.y0, raster.dx, raster.dy, raster.crs), PLANE, low, high)
    assert 0 < unknown < 0.5 and np.isfinite(terrain.heights).all()
    middle = terrain.at(np.array([[50.0, 50.0]]))[0]
    assert 280 < middle < 340


def test_any_size_of_gear():
    tiny = Gear("tiny", (13.2, 8.8), 8.8, (300, 200), kind="drone", drone=P4.drone)
    plan, _ = plan_area(tiny, SQUARE, AreaSettings(height=80.0))
    assert plan.facts["guaranteed_views"] == 4
