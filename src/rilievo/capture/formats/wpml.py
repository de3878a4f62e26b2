"""DJI's waypoint files: a KMZ with wpmz/template.kml and wpmz/waylines.wpml.

Rules: DJI Cloud API, "DJI WPML" (overview, template.kml, waylines.wpml, common elements), namespace wpmz/1.0.2,
https://developer.dji.com/doc/cloud-api-tutorial/en/api-reference/dji-wpml/overview.html. The numbers of drones and
payloads are documented for enterprise models only; for others those of the Mavic 3 Enterprise are written, which DJI
Fly ignores (its files are exchanged by hand: it has no import).
"""

from __future__ import annotations

import io
import zipfile
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from rilievo.capture.flight import Mission, Waypoint
from rilievo.capture.outlines import parse_xml

KML = "http://www.opengis.net/kml/2.2"
WPML = "http://www.dji.com/wpmz/1.0.2"
_K, _W = f"{{{KML}}}", f"{{{WPML}}}"
_ANY_DRONE = (77, 0, 66, 0)
_STOP, _PASS = "toPointAndStopWithDiscontinuityCurvature", "toPointAndPassWithContinuityCurvature"
_NAMES = ("wpmz/template.kml", "wpmz/waylines.wpml")
_MAX_BYTES = 256 << 20

# What the published tables allow, element by element.
_CHOICES = {
    "flyToWaylineMode": {"safely", "pointToPoint"},
    "finishAction": {"goHome", "noAction", "autoLand", "gotoFirstWaypoint"},
    "exitOnRCLost": {"goContinue", "executeLostAction"},
    "executeRCLostAction": {"goBack", "landing", "hover"},
    "templateType": {"waypoint", "mapping2d", "mapping3d", "mappingStrip"},
    "executeHeightMode": {"WGS84", "relativeToStartPoint", "realTimeFollowSurface"},
    "coordinateMode": {"WGS84"},
    "heightMode": {"EGM96", "relativeToStartPoint", "aboveGroundLevel", "realTimeFollowSurface"},
    "waypointHeadingMode": {"followWayline", "manually", "fixed", "smoothTransition", "towardPOI"},
    "waypointHeadingPathMode": {"clockwise", "counterClockwise", "followBadArc"},
    "waypointTurnMode": {"coordinateTurn", _STOP, "toPointAndStopWithContinuityCurvature", _PASS},
    "gimbalPitchMode": {"manual", "usePointSetting"},
    "actionGroupMode": {"sequence"},
    "actionTriggerType": {"reachPoint", "betweenAdjacentPoints", "multipleTiming", "multipleDistance"},
    "gimbalRotateMode": {"relativeAngle", "absoluteAngle"},
}
_RANGES = {
    "takeOffSecurityHeight": (2, 1500), "globalTransitionalSpeed": (1e-6, 15), "autoFlightSpeed": (1e-6, 25),
    "waypointSpeed": (1e-6, 25), "templateId": (0, 65535), "waylineId": (0, 65535), "index": (0, 65535),
    "actionGroupId": (0, 65535), "actionGroupStartIndex": (0, 65535), "actionGroupEndIndex": (0, 65535),
    "actionId": (0, 65535), "waypointHeadingAngle": (-180, 180), "actionTriggerParam": (1e-6, 1e6),
    "gimbalPitchRotateAngle": (-120, 90), "gimbalPitchAngle": (-120, 90),
}  # fmt: skip
_REQUIRED = {
    "missionConfig": ("flyToWaylineMode", "finishAction", "exitOnRCLost", "takeOffSecurityHeight",
                      "globalTransitionalSpeed", "droneInfo", "payloadInfo"),
    "droneInfo": ("droneEnumValue",),
    "payloadInfo": ("payloadEnumValue", "payloadPositionIndex"),
    "actionGroup": ("actionGroupId", "actionGroupStartIndex", "actionGroupEndIndex", "actionGroupMode", "actionTrigger",
                    "action"),
    "action": ("actionId", "actionActuatorFunc"),
    "waypointHeadingParam": ("waypointHeadingMode", "waypointHeadingPathMode"),
    "waypointTurnParam": ("waypointTurnMode",),
}  # fmt: skip


def write(mission: Mission) -> bytes:
    """The archive; the same bytes for the same mission."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in zip(_NAMES, (_template(mission), _waylines(mission))):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text.encode())
    return out.getvalue()


def _tag(name: str, value: object) -> str:
    return f"<wpml:{name}>{escape(str(value))}</wpml:{name}>"


def _number(value: float, digits: int = 2) -> str:
    text = f"{value:.{digits}f}"
    return "0" if float(text) == 0 else text


def _document(body: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="{KML}" xmlns:wpml="{WPML}">\n<Document>\n'
        f"{body}\n</Document>\n</kml>\n"
    )


def _config(mission: Mission) -> str:
    drone, subtype, payload, payload_subtype = mission.wpml or _ANY_DRONE
    return "\n".join(
        [
            "<wpml:missionConfig>",
            _tag("flyToWaylineMode", "safely"),
            _tag("finishAction", "goHome"),
            _tag("exitOnRCLost", "executeLostAction"),
            _tag("executeRCLostAction", "goBack"),
            _tag("takeOffSecurityHeight", _number(min(max(mission.safe_height_m, 2), 1500))),
            _tag("globalTransitionalSpeed", _number(min(mission.speed_m_s, 15))),
            _tag("globalRTHHeight", _number(mission.safe_height_m)),
            f"<wpml:droneInfo>{_tag('droneEnumValue', drone)}{_tag('droneSubEnumValue', subtype)}</wpml:droneInfo>",
            f"<wpml:payloadInfo>{_tag('payloadEnumValue', payload)}{_tag('payloadSubEnumValue', payload_subtype)}"
            f"{_tag('payloadPositionIndex', 0)}</wpml:payloadInfo>",
            "</wpml:missionConfig>",
        ]
    )


def _template(mission: Mission) -> str:
    body = [
        _tag("author", "rilievo"),
        _config(mission),
        "<Folder>",
        _tag("templateType", "waypoint"),
        _tag("templateId", 0),
        f"<wpml:waylineCoordinateSysParam>{_tag('coordinateMode', 'WGS84')}{_tag('heightMode', 'relativeToStartPoint')}"
        f"{_tag('positioningType', 'GPS')}</wpml:waylineCoordinateSysParam>",
        _tag("autoFlightSpeed", _number(mission.speed_m_s)),
        _tag("gimbalPitchMode", "usePointSetting"),
        _tag("globalHeight", _number(max((w.height_m for w in mission.waypoints), default=0.0))),
        f"<wpml:globalWaypointHeadingParam>{_tag('waypointHeadingMode', 'followWayline')}"
        f"{_tag('waypointHeadingPathMode', 'followBadArc')}</wpml:globalWaypointHeadingParam>",
        _tag("globalWaypointTurnMode", _STOP),
        _tag("globalUseStraightLine", 1),
    ]
    groups = _Groups(mission)
    for k, w in enumerate(mission.waypoints):
        body += [
            "<Placemark>",
            f"<Point><coordinates>{w.longitude:.9f},{w.latitude:.9f}</coordinates></Point>",
            _tag("index", k),
            _tag("ellipsoidHeight", _number(w.height_m, 3)),
            _tag("height", _number(w.height_m, 3)),
            _tag("useGlobalHeight", 0),
            _tag("useGlobalSpeed", 0),
            _tag("waypointSpeed", _number(w.speed_m_s)),
            _tag("useGlobalHeadingParam", 0),
            _heading(w),
            _tag("useGlobalTurnParam", 0),
            _turn(mission, k),
            _tag("useStraightLine", 1),
            _tag("gimbalPitchAngle", _number(w.pitch_deg, 1)),
            *groups.at(k),
            "</Placemark>",
        ]
    return _document("\n".join([*body, "</Folder>"]))


def _waylines(mission: Mission) -> str:
    body = [
        _config(mission),
        "<Folder>",
        _tag("templateId", 0),
        _tag("executeHeightMode", "relativeToStartPoint"),
        _tag("waylineId", 0),
        _tag("autoFlightSpeed", _number(mission.speed_m_s)),
    ]
    groups = _Groups(mission)
    for k, w in enumerate(mission.waypoints):
        body += [
            "<Placemark>",
            f"<Point><coordinates>{w.longitude:.9f},{w.latitude:.9f}</coordinates></Point>",
            _tag("index", k),
            _tag("executeHeight", _number(w.height_m, 3)),
            _tag("waypointSpeed", _number(w.speed_m_s)),
            _heading(w),
            _turn(mission, k),
            _tag("useStraightLine", 1),
            *groups.at(k),
            "</Placemark>",
        ]
    return _document("\n".join([*body, "</Folder>"]))


def _heading(w: Waypoint) -> str:
    angle = round((w.heading_deg + 180) % 360 - 180)
    return (
        f"<wpml:waypointHeadingParam>{_tag('waypointHeadingMode', 'smoothTransition')}"
        f"{_tag('waypointHeadingAngle', angle)}{_tag('waypointHeadingPathMode', 'followBadArc')}"
        "</wpml:waypointHeadingParam>"
    )


def _turn(mission: Mission, k: int) -> str:
    w = mission.waypoints[k]
    # a turn begins before the point; it must be shorter than half of the legs beside it
    damping = 0.0 if w.stops else 0.2
    mode = _STOP if w.stops else _PASS
    return (
        f"<wpml:waypointTurnParam>{_tag('waypointTurnMode', mode)}"
        f"{_tag('waypointTurnDampingDist', _number(damping))}</wpml:waypointTurnParam>"
    )


class _Groups:
    """Action groups with numbers that count through the file."""

    def __init__(self, mission: Mission) -> None:
        self.mission = mission
        self.next = 0

    def at(self, k: int) -> list[str]:
        """The groups that begin at waypoint k: the gimbal, then photos."""
        w = self.mission.waypoints[k]
        gimbal = self._action(
            0,
            "gimbalRotate",
            _tag("gimbalHeadingYawBase", "north")
            + _tag("gimbalRotateMode", "absoluteAngle")
            + _tag("gimbalPitchRotateEnable", 1)
            + _tag("gimbalPitchRotateAngle", _number(w.pitch_deg, 1))
            + _tag("gimbalRollRotateEnable", 0)
            + _tag("gimbalRollRotateAngle", 0)
            + _tag("gimbalYawRotateEnable", 0)
            + _tag("gimbalYawRotateAngle", 0)
            + _tag("gimbalRotateTimeEnable", 0)
            + _tag("gimbalRotateTime", 0),
        )
        photo = _tag("fileSuffix", f"p{k}") + _tag("useGlobalPayloadLensIndex", 0)
        actions = [gimbal]
        if w.photo in ("once", "stop"):  # the last photo of a line is taken where it ends
            actions.append(self._action(1, "takePhoto", photo))
        out = [self._group(k, k, _tag("actionTriggerType", "reachPoint"), actions)]
        if w.photo == "start":
            end = next(j for j in range(k, len(self.mission.waypoints)) if self.mission.waypoints[j].photo == "stop")
            trigger = _tag("actionTriggerType", "multipleDistance")
            trigger += _tag("actionTriggerParam", _number(self.mission.interval_m))
            out.append(self._group(k, end, trigger, [self._action(0, "takePhoto", photo)]))
        return out

    def _group(self, start: int, end: int, trigger: str, actions: list[str]) -> str:
        number, self.next = self.next, self.next + 1
        return (
            f"<wpml:actionGroup>{_tag('actionGroupId', number)}{_tag('actionGroupStartIndex', start)}"
            f"{_tag('actionGroupEndIndex', end)}{_tag('actionGroupMode', 'sequence')}"
            f"<wpml:actionTrigger>{trigger}</wpml:actionTrigger>{''.join(actions)}</wpml:actionGroup>"
        )

    def _action(self, number: int, function: str, parameters: str) -> str:
        return (
            f"<wpml:action>{_tag('actionId', number)}{_tag('actionActuatorFunc', function)}"
            f"<wpml:actionActuatorFuncParam>{parameters}{_tag('payloadPositionIndex', 0)}"
            "</wpml:actionActuatorFuncParam></wpml:action>"
        )


# --- reading ----------------------------------------------------------------------------------------------------------


def _roots(raw: bytes) -> list[ElementTree.Element]:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            if any(archive.getinfo(name).file_size > _MAX_BYTES for name in _NAMES):
                raise ValueError("it unpacks to more than 256 MiB")
            return [parse_xml(archive.read(name)) for name in _NAMES]
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, OSError) as error:
        raise ValueError(f"not a WPML archive: {error}") from error


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.find("/".join(p if p.startswith("{") or p == "." else _W + p for p in path.split("/")))
    if found is None or found.text is None:
        raise ValueError(f"{path} is missing")
    return found.text.strip()


def read(raw: bytes) -> Mission:
    """What flies: waylines.wpml. Raises ValueError."""
    root = _roots(raw)[1]
    config, folder = root.find(f"{_K}Document/{_W}missionConfig"), root.find(f"{_K}Document/{_K}Folder")
    if config is None or folder is None:
        raise ValueError("missionConfig or Folder is missing")
    waypoints, pitch, interval = [], 0.0, 0.0
    marks: dict[int, str] = {}
    for placemark in folder.findall(f"{_K}Placemark"):
        index = int(_text(placemark, "index"))
        point = placemark.find(f"{_K}Point/{_K}coordinates")
        if point is None or not point.text:
            raise ValueError(f"waypoint {index} has no place")
        longitude, latitude = (float(v) for v in point.text.split(",")[:2])
        for group in placemark.findall(f"{_W}actionGroup"):
            trigger = _text(group, "actionTrigger/actionTriggerType")
            for action in group.findall(f"{_W}action"):
                function = _text(action, "actionActuatorFunc")
                if function == "gimbalRotate":
                    pitch = float(_text(action, "actionActuatorFuncParam/gimbalPitchRotateAngle"))
                elif function == "takePhoto" and trigger == "reachPoint":
                    marks.setdefault(index, "once")
                elif function == "takePhoto" and trigger == "multipleDistance":
                    interval = float(_text(group, "actionTrigger/actionTriggerParam"))
                    marks[int(_text(group, "actionGroupStartIndex"))] = "start"
                    marks[int(_text(group, "actionGroupEndIndex"))] = "stop"
        waypoints.append(
            Waypoint(
                latitude,
                longitude,
                float(_text(placemark, "executeHeight")),
                float(_text(placemark, "waypointHeadingParam/waypointHeadingAngle")) % 360,
                pitch,
                float(_text(placemark, "waypointSpeed")),
                _text(placemark, "waypointTurnParam/waypointTurnMode") == _STOP,
                marks.get(index, ""),
            )
        )
    drone = [int(_text(config, f"droneInfo/{n}")) for n in ("droneEnumValue", "droneSubEnumValue")]
    payload = [int(_text(config, f"payloadInfo/{n}")) for n in ("payloadEnumValue", "payloadSubEnumValue")]
    return Mission(
        "", (0.0, 0.0, 0.0), tuple(waypoints), interval, float(_text(folder, "autoFlightSpeed")),
        float(_text(config, "takeOffSecurityHeight")), (drone[0], drone[1], payload[0], payload[1]),
    )  # fmt: skip


def faults(raw: bytes) -> list[str]:
    """Where the archive breaks DJI's published tables."""
    try:
        roots = _roots(raw)
    except ValueError as error:
        return [str(error)]
    found: list[str] = []
    for name, root in zip(_NAMES, roots):
        if root.tag != f"{_K}kml" or root.find(f"{_K}Document") is None:
            found.append(f"{name}: no kml/Document")
        for element in root.iter():
            found += [f"{name}: {fault}" for fault in _element_faults(element)]
        for folder in root.iter(f"{_K}Folder"):
            numbers = [int(_text(p, "index")) for p in folder.findall(f"{_K}Placemark")]
            if numbers != list(range(len(numbers))):
                found.append(f"{name}: waypoints do not count from 0")
            groups = [int(g.text or -1) for g in folder.iter(f"{_W}actionGroupId")]
            if len(set(groups)) != len(groups):
                found.append(f"{name}: action groups share numbers")
    return found


def _element_faults(element: ElementTree.Element) -> list[str]:
    if not element.tag.startswith(_W):
        return _coordinate_faults(element)
    name = element.tag.removeprefix(_W)
    text = (element.text or "").strip()
    found = []
    if name in _CHOICES and text not in _CHOICES[name]:
        found.append(f"{name} is {text!r}")
    if name in _RANGES:
        low, high = _RANGES[name]
        try:
            if not low <= float(text) <= high:
                found.append(f"{name} is {text}, not within {low:g} to {high:g}")
        except ValueError:
            found.append(f"{name} is {text!r}, no number")
    found += [f"{name} has no {n}" for n in _REQUIRED.get(name, ()) if element.find(_W + n) is None]
    if name == "actionGroup":
        start, end = (int(_text(element, f"actionGroup{n}Index")) for n in ("Start", "End"))
        if end < start:
            found.append("an action group ends before it starts")
        trigger = _text(element, "actionTrigger/actionTriggerType")
        if trigger.startswith("multiple") and element.find(f"{_W}actionTrigger/{_W}actionTriggerParam") is None:
            found.append("an interval without a length")
    return found


def _coordinate_faults(element: ElementTree.Element) -> list[str]:
    if element.tag != f"{_K}coordinates":
        return []
    longitude, latitude = (float(v) for v in (element.text or "").split(",")[:2])
    return [] if abs(latitude) <= 90 and abs(longitude) <= 180 else [f"no place on earth: {element.text}"]
