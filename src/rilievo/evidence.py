"""Why a photo was or was not placed, with the evidence that a build left in its project."""

from __future__ import annotations

from typing import Any

from rilievo.project import Project


def explain(row: dict[str, Any]) -> str:
    """All that is known about a photo, for a terminal: evidence, what is wrong with it, what to do."""
    faults = row.get("faults", [])
    lines = row.get("diagnosis", "").splitlines()
    if not lines:
        state = "was placed" if row["placed"] else "was not placed"
        lines = [f"{row['name']} {state}" + (f": {row['reason']}" if row.get("reason") else "")]
    hints = [f["hint"] for f in faults if f["hint"]]
    if any(f["kind"] in ("mirrored", "dark", "blur", "alone") for f in faults):
        lines = [line for line in lines if not line.startswith("hint: ")]  # the fault is the reason
    elif row.get("hint") and not any(line.startswith("hint: ") for line in lines) and not row["placed"]:
        hints.append(row["hint"])
    lines[1:1] = [f"it {f['text']}" for f in faults]
    return "\n".join([*lines, *(f"hint: {hint}" for hint in hints)])


def evidence(project: Project, name: str) -> dict[str, Any]:
    """From the project's stored results: the photos that match a photo best (`partners`), and the diagnosis as text.
    Empty where the photo never got as far as matching."""
    from rilievo.stages.diagnose import diagnose
    from rilievo.stages.mapping import pairs

    content = project.read()
    made_from = content.get("made_from", {})
    if "cameras" not in content.get("names", {}) or not made_from.get("matches"):
        return {}
    photos = [project.get(i) for i in made_from["photos"]]
    if name not in {p.name for p in photos} or len(made_from.get("keypoints", ())) != len(photos):
        return {}
    features = {p.name: project.get(i) for p, i in zip(photos, made_from["keypoints"])}
    matches = [project.get(i) for i in made_from["matches"]]
    scene = project.named("cameras")
    partners = []
    for name0, name1, verified, num_raw, _ in pairs(matches):
        if name in (name0, name1):
            other = name1 if name == name0 else name0
            placed = other in scene.names
            partners.append({"name": other, "raw": num_raw, "verified": len(verified), "placed": placed})
    partners.sort(key=lambda p: (-p["verified"], -p["raw"], p["name"]))
    text = diagnose(name, photos, features, matches, scene)
    hint = next((line.removeprefix("hint: ") for line in text.splitlines() if line.startswith("hint: ")), "")
    return {"partners": partners, "diagnosis": text, "hint": hint}
