"""Files of missions: written, checked against the published rules, read back, compared; damaged ones are refused."""

import csv
import io
import json
import math
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from rilievo.capture.area import AreaSettings, plan_area
from rilievo.capture.flight import Mission, Waypoint, _bends
from rilievo.capture.formats import FORMATS, differences, litchi, mavlink, qgc, read_mission, wpml, write_mission
from rilievo.capture.gear import find_gear
from rilievo.capture.outlines import parse_xml
from rilievo.capture.places import Plane
from rilievo.errors import InputError

PLANE = Plane(-33.9, 151.2)


def way(x, y, z=60.0, **values):
    place = PLANE.to_degrees(np.array([[x, y]], float))[0]
    usual = {"heading_deg": 37.0, "pitch_deg": -90.0, "speed_m_s": 7.5}
    return Waypoint(float(place[0]), float(place[1]), z, **(usual | values))


def line_mission():
    points = (way(0, 0, photo="start"), way(60, 10, 64.0, stops=False), way(120, 20, photo="stop"),
              way(120, 55, heading_deg=217.0, photo="start"), way(0, 35, heading_deg=217.0, photo="stop"))  # fmt: skip
    return Mission("flight 1 of 1", (-33.9, 151.2, 41.5), points, 13.25, 7.5, 64.0, (77, 0, 66, 0))


def point_mission():
    points = tuple(
        way(10 * k, 5 * k, 50.0 + k, heading_deg=(300 + 20 * k) % 360, pitch_deg=-90.0 + 5 * k, photo="once")
        for k in range(9)
    )
    return Mission("circle & <more>", (-33.9, 151.2, 0.0), points, 0.0, 7.5, 60.0, None)


MISSIONS = {"lines": line_mission(), "points": point_mission()}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", MISSIONS)
def test_written_read_and_the_same(name, kind, tmp_path):
    mission, row = MISSIONS[kind], FORMATS[name]
    raw = write_mission(name, mission)
    assert raw == write_mission(name, mission)
    path = tmp_path / f"flight{row.ending}"
    path.write_bytes(raw)
    again = read_mission(path)
    assert not differences(mission, again, row)
    if name not in ("dji", "litchi"):  # these do not hold take-off
        assert again.home == pytest.approx(mission.home, abs=1e-6)
    # a second writing changes nothing: rounding is done once
    assert row.call("read", write_mission(name, replace(again, name=mission.name))).waypoints == again.waypoints


@pytest.mark.parametrize("name", FORMATS)
def test_what_changes_is_noticed(name):
    mission, row = MISSIONS["lines"], FORMATS[name]
    again = row.call("read", row.call("write", mission))
    first = again.waypoints[0]
    changed = (
        replace(first, latitude=first.latitude + 1e-6), replace(first, longitude=first.longitude - 1e-6),
        replace(first, height_m=first.height_m + 0.2), replace(first, heading_deg=first.heading_deg + 2),
        replace(first, pitch_deg=-80.0), replace(first, speed_m_s=5.0), replace(first, photo="once"),
    )  # fmt: skip
    for waypoint in changed:
        assert differences(mission, replace(again, waypoints=(waypoint, *again.waypoints[1:])), row)
    assert differences(mission, replace(again, waypoints=again.waypoints[1:]), row)
    assert differences(mission, replace(again, interval_m=1.0), row)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused(name, tmp_path):
    row = FORMATS[name]
    raw = row.call("write", MISSIONS["lines"])
    path = tmp_path / f"flight{row.ending}"
    for bad in (
        b"",
        b"\x00" * 100,
        bytes(range(256)) * 4,
        raw[: len(raw) // 3],
        b"{}",
        b"[]",
        b"<kml/>",
        b"PK\x05\x06" + bytes(18),
    ):
        path.write_bytes(bad)
        with pytest.raises(InputError):
            read_mission(path)
        assert row.call("faults", bad)
    with pytest.raises(InputError):
        read_mission(tmp_path / "flight.docx")
    with pytest.raises(InputError):
        read_mission(tmp_path / f"absent{row.ending}")


def edited(raw, old, new, name="wpmz/waylines.wpml"):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.namelist():
            text = source.read(entry).decode()
            assert entry != name or old in text
            target.writestr(entry, text.replace(old, new, 1) if entry == name else text)
    return out.getvalue()


def test_wpml_keeps_to_the_published_tables():
    raw = wpml.write(MISSIONS["lines"])
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.namelist() == ["wpmz/template.kml", "wpmz/waylines.wpml"]
        roots = [parse_xml(archive.read(n)) for n in archive.namelist()]
    assert not wpml.faults(raw)
    w = "{http://www.dji.com/wpmz/1.0.2}"
    for root in roots:
        assert [int(e.text) for e in root.iter(f"{w}index")] == [0, 1, 2, 3, 4]
        assert {e.text for e in root.iter(f"{w}droneEnumValue")} == {"77"}
        angles = [e.text for e in root.iter(f"{w}waypointHeadingAngle")]
        assert angles == ["37", "37", "37", "-143", "-143"]  # whole degrees, -180 to 180
        groups = [int(e.text) for e in root.iter(f"{w}actionGroupId")]
        assert groups == list(range(len(groups)))
    triggers = [
        e
        for e in roots[1].iter(f"{w}actionGroup")
        if e.find(f"{w}actionTrigger/{w}actionTriggerType").text == "multipleDistance"
    ]
    ranges = [
        (int(e.find(f"{w}actionGroupStartIndex").text), int(e.find(f"{w}actionGroupEndIndex").text)) for e in triggers
    ]
    assert ranges == [(0, 2), (3, 4)]
    for old, new in (
        ("<wpml:finishAction>goHome<", "<wpml:finishAction>fly<"),
        ("<wpml:takeOffSecurityHeight>64.00<", "<wpml:takeOffSecurityHeight>1.00<"),
        ("<wpml:index>1<", "<wpml:index>5<"),
        ("<wpml:waypointHeadingAngle>37<", "<wpml:waypointHeadingAngle>237<"),
        ("<wpml:actionGroupId>1<", "<wpml:actionGroupId>0<"),
        ("<wpml:actionTriggerParam>13.25</wpml:actionTriggerParam>", ""),
        ("<wpml:actionGroupEndIndex>2<", "<wpml:actionGroupEndIndex>0<"),
        ("<wpml:payloadPositionIndex>0</wpml:payloadPositionIndex></wpml:payloadInfo>", "</wpml:payloadInfo>"),
        ("<wpml:executeHeightMode>relativeToStartPoint<", "<wpml:executeHeightMode>AGL<"),
        ("<wpml:waypointSpeed>7.50<", "<wpml:waypointSpeed>fast<"),
    ):
        broken = wpml.faults(edited(raw, old, new))
        assert broken or old.startswith("<wpml:actionGroupEndIndex"), old
    assert wpml.faults(edited(raw, "151.2", "251.2"))


def test_qgc_plan_has_the_required_keys():
    plan = json.loads(qgc.write(MISSIONS["lines"]))
    assert plan["fileType"] == "Plan" and plan["version"] == 1 and plan["mission"]["version"] == 2
    items = plan["mission"]["items"]
    assert [i["doJumpId"] for i in items] == list(range(1, len(items) + 1))
    assert items[0]["command"] == 22 and items[-1]["command"] == 20
    assert all(len(i["params"]) == 7 and i["type"] == "SimpleItem" for i in items)
    # trigger on after the first waypoint of a line, off after its last
    order = [(i["command"], i["params"][0]) for i in items if i["command"] in (16, 206)]
    assert order == [(16, 1), (206, 13.25), (16, 0), (16, 1), (206, 0), (16, 1), (206, 13.25), (16, 1), (206, 0)]
    for key in ("firmwareType", "hoverSpeed", "plannedHomePosition"):
        less = json.loads(qgc.write(MISSIONS["lines"]))
        del less["mission"][key]
        assert qgc.faults(json.dumps(less).encode())
    less = json.loads(qgc.write(MISSIONS["lines"]))
    less["mission"]["items"][3]["params"].pop()
    assert qgc.faults(json.dumps(less).encode())
    less["mission"]["items"][3]["type"] = "ComplexItem"
    with pytest.raises(ValueError, match="ComplexItem"):
        qgc.read(json.dumps(less).encode())


def test_waypoint_text_has_twelve_columns():
    lines = write_mission("ardupilot", MISSIONS["points"]).decode().splitlines()
    assert lines[0] == "QGC WPL 110"
    rows = [line.split("\t") for line in lines[1:]]
    assert {len(r) for r in rows} == {12} and [r[1] for r in rows] == ["1"] + ["0"] * (len(rows) - 1)
    home = rows[0]
    assert home[3] == "16" and float(home[8]) == pytest.approx(-33.9) and float(home[9]) == pytest.approx(151.2)
    assert [r[3] for r in rows].count("203") == 9 and not any("nan" in line for line in lines)
    faults = FORMATS["ardupilot"].call("faults", "\n".join([*lines[:3], *lines[4:]]).encode())
    assert faults == ["items do not count from 0"]


def test_litchi_has_its_columns_and_limits():
    raw = litchi.write(MISSIONS["lines"])
    rows = list(csv.DictReader(io.StringIO(raw.decode())))
    assert len(rows[0]) == 8 + 30 + 8 and [r["photo_distinterval"] for r in rows] == [
        "13.25",
        "13.25",
        "-1",
        "13.25",
        "-1",
    ]
    for change in ({"height_m": 600.0}, {"pitch_deg": -100.0}, {"speed_m_s": 20.0}):
        points = (replace(MISSIONS["lines"].waypoints[0], **change), *MISSIONS["lines"].waypoints[1:])
        with pytest.raises(InputError, match="Litchi"):
            write_mission("litchi", replace(MISSIONS["lines"], waypoints=points))
    near = replace(MISSIONS["points"], waypoints=(way(0, 0, photo="once"), way(0.2, 0, photo="once")))
    assert any("apart" in fault for fault in litchi.faults(litchi.write(near)))


def test_geojson_and_kml_keep_to_their_standards():
    document = json.loads(write_mission("geojson", MISSIONS["points"]))
    kinds = [f["geometry"]["type"] for f in document["features"]]
    assert kinds == ["Point"] * 10 + ["LineString"] and "crs" not in document
    assert document["features"][1]["geometry"]["coordinates"][0] == pytest.approx(151.2)
    document["features"][1]["geometry"]["coordinates"] = [10.0, 120.0]
    assert FORMATS["geojson"].call("faults", json.dumps(document).encode())
    kml = write_mission("kml", MISSIONS["points"])
    assert b"circle &amp; &lt;more&gt;" in kml
    assert FORMATS["kml"].call("faults", kml.replace(b"relativeToGround", b"aboveGround", 1))
    assert FORMATS["kml"].call("faults", b'<!DOCTYPE a [<!ENTITY b "c">]><kml/>')


def test_unknown_commands_are_refused():
    with pytest.raises(ValueError, match="84"):
        mavlink.mission_of([mavlink.Item(84, 3, (0.0,) * 7)], (0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="waypoint"):
        mavlink.mission_of([], (0.0, 0.0, 0.0))


@pytest.mark.parametrize("pattern, every", [("cross", False), ("oblique", False), ("orbit", False), ("grid", True)])
def test_flights_of_plans_can_be_written_in_all_formats(pattern, every):
    outline = PLANE.to_degrees(np.array([[0, 0], [160, 30], [140, 110], [-10, 120.0]]))
    plan, flight = plan_area(
        find_gear("Mavic 3 Enterprise"), outline, AreaSettings(height=70.0, pattern=pattern, every_photo=every)
    )
    for mission in flight.missions:
        for name in FORMATS:
            assert write_mission(name, mission)
    # what is flown is what was planned: photos at intervals or at waypoints, in the stations' places
    flown = np.concatenate([_photos(m) for m in flight.missions])
    centers = plan.stations.centers
    assert len(flown) == len(centers)
    assert np.linalg.norm(flown - centers, axis=1).max() < 0.05


def _photos(mission):
    """Where a mission takes photos, on the plan's plane."""
    out, since = [], None
    plane = Plane(*_middle(mission))
    for a, b in zip(mission.waypoints, (*mission.waypoints[1:], mission.waypoints[-1])):
        p = np.array([*plane.from_degrees(np.array([a.latitude]), np.array([a.longitude]))[0], a.height_m])
        q = np.array([*plane.from_degrees(np.array([b.latitude]), np.array([b.longitude]))[0], b.height_m])
        if a.photo == "once":
            out.append(p)
        since = p if a.photo == "start" else None if a.photo == "stop" else since
        if since is not None:
            length = np.linalg.norm(q - p)
            num = round(length / mission.interval_m)
            out += [p + (q - p) * k / num for k in range(num)]
        if a.photo == "stop":
            out.append(p)
    return np.array(out)


def _middle(mission):
    outline = PLANE.to_degrees(np.array([[0, 0], [160, 30], [140, 110], [-10, 120.0]]))
    return (*outline.mean(0), 0.0)


def test_heights_of_lines_are_kept_with_few_points():
    x = np.arange(0, 400, 10.0)
    path = np.stack([x, 0 * x, 60 + 12 * np.sin(x / 60)], -1)
    kept = _bends(path)
    assert 4 < len(kept) < 25 and kept[0] == 0 and kept[-1] == 39
    assert np.abs(np.interp(x, x[kept], path[kept, 2]) - path[:, 2]).max() <= 1.0
    assert _bends(path * [1, 1, 0]) == [0, 39]


def test_long_legs_are_cut():
    outline = PLANE.to_degrees(np.array([[0, 0], [3500, 0], [3500, 60], [0, 60.0]]))
    _, flight = plan_area(find_gear("Mavic 3 Enterprise"), outline, AreaSettings(height=100.0))
    for mission in flight.missions:
        places = Plane(*outline.mean(0)).from_degrees(
            np.array([w.latitude for w in mission.waypoints]), np.array([w.longitude for w in mission.waypoints])
        )
        assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 1999
        assert write_mission("litchi", mission)
    assert math.isfinite(sum(flight.seconds))
