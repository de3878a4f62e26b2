"""The verdict on a set in words, and the whole result as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rilievo.checking.around import MIN_STEP_DEG, PRO_STEP_DEG, PRO_TIERS

GOOD, WEAK, BAD = "good", "weak", "bad"
_KINDS = {
    "defocus": "out of focus", "motion": "shaken", "dark": "too dark", "clipped": "overexposed",
    "exposure": "exposed unlike the others", "white balance": "of another white balance", "noise": "noisy",
    "jpeg": "compressed too hard", "textureless": "short of texture", "specular": "full of highlights",
    "empty": "empty", "zoom": "zoomed", "mirrored": "mirrored", "alone": "of something else", "small": "small",
    "focal": "at odds with their EXIF", "turned": "turned", "focus": "focused elsewhere", "exif": "without EXIF",
}  # fmt: skip


def judge(document: Mapping[str, Any]) -> dict[str, Any]:
    """{"level": good, weak or bad, "verdict": one paragraph, "problems": one sentence each, worst first}."""
    problems: list[tuple[int, str]] = []  # 2: must be mended, 1: should be
    rows, alignment = document["photos"]["list"], document["alignment"]
    _judge_photos(rows, document["photos"]["rejected"], problems)
    if not alignment["done"]:
        problems.append((2, f"the photos could not be aligned: {alignment['why']}"))
    else:
        _judge_alignment(alignment, len(rows), problems)
    around, coverage = document["around"], document["coverage"]
    if around is not None:
        _judge_round(around, problems)
    if coverage is not None and coverage["below_3_views_share"] > 0.08:
        share = 100 * coverage["below_3_views_share"]
        problems.append((2 if share > 30 else 1, f"{share:.0f} % of the surface is seen by fewer than three photos"))
    problems += [(1, f"{x['text']}") for x in document["set"] if x["level"] == "weak"]
    problems.sort(key=lambda p: -p[0])
    worst = problems[0][0] if problems else 0
    level = {0: GOOD, 1: WEAK, 2: BAD}[worst]
    score = "" if coverage is None else f" Coverage {coverage['score']:.0f} of 100."
    first = {
        GOOD: "Ready to build: nothing is missing.",
        WEAK: "Usable, but it can be better: ",
        BAD: "Not ready: ",
    }[level]
    if document["built"]:
        first = {
            GOOD: "All photos did their part.",
            WEAK: "Built, but it can be better: ",
            BAD: "The build lacks something: ",
        }[level]
    said = "; ".join(text for _, text in problems[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    tail = f"{said}{more}." if problems else ""
    num = len(document["next"])
    take = f" Take the {num} photos below next." if num > 1 and level != GOOD else ""
    return {
        "level": level,
        "verdict": f"{first}{tail}{score}{take}",
        "problems": [text for _, text in problems],
    }


def _judge_photos(
    rows: Sequence[Mapping[str, Any]], rejected: Sequence[Mapping[str, str]], problems: list[tuple[int, str]]
) -> None:
    total = len(rows)
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for x in row["findings"][:1]:
            if x["level"] != "note":
                counts[x["kind"], x["level"]] += 1
    for level, grade in (("bad", 2), ("weak", 1)):
        for (kind, found), n in sorted(counts.items(), key=lambda item: -item[1]):
            if found == level:
                many = grade if n > 0.15 * total else 1
                word = _KINDS.get(kind, kind)
                problems.append((many, f"{n} of {total} photos {'is' if n == 1 else 'are'} {word}"))
    if rejected:
        n = len(rejected)
        problems.append(
            (1, f"{n} file{'s' if n > 1 else ''} cannot be used ({rejected[0]['name']}: {rejected[0]['reason']})")
        )


def _judge_alignment(alignment: Mapping[str, Any], total: int, problems: list[tuple[int, str]]) -> None:
    islands = [i for i in alignment["graph"]["islands"] if len(i) > 1]
    if len(islands) > 1:
        a, b = islands[0], islands[1]
        problems.append(
            (
                2,
                f"the photos form {len(islands)} islands that nothing connects, of {len(a)} and {len(b)} photos"
                f" ({b[0]} to {b[-1]})",
            )
        )
    missing = total - alignment["placed"]
    if missing and not (len(islands) > 1 and missing <= sum(map(len, islands[1:]))):
        first = next(iter(alignment["unplaced"].items()), ("", ""))
        grade = 2 if missing > 0.2 * total else 1
        problems.append((grade, f"{missing} of {total} photos cannot be placed ({first[0]}: {first[1]})"))
    for link in alignment["graph"]["weak_links"][:2]:
        if link["behind_it"] > 1:
            a, b = link["photos"]
            problems.append(
                (1, f"{link['behind_it']} photos hang on one weak link, {a} to {b} ({link['matches']} matches)")
            )
    overlap = alignment["overlap"]
    below = overlap["below_minimum"]
    if below and len(below) > 0.1 * total:
        share = 100 * overlap["minimum_standard"]
        problems.append(
            (1, f"{len(below)} photos share less than {share:.0f} % with a second neighbour, e.g. {below[0]}")
        )


def _judge_round(around: Mapping[str, Any], problems: list[tuple[int, str]]) -> None:
    for s in around["missing_sectors"][:3]:
        text = (
            f"no photo looks from {s['from_deg']:.0f} to {s['to_deg']:.0f} degrees (between {s['between'][0]} and"
            f" {s['between'][1]}; 0 is {around['azimuth_zero']}, counter-clockwise from above)"
        )
        problems.append((2 if s["width_deg"] > 45 else 1, text))
    if around["missing_tier"] is not None:
        levels = " and ".join(f"{t['elevation_deg']:.0f}" for t in around["tiers"])
        problems.append(
            (1, f"a tier of photos at about {around['missing_tier']:.0f} degrees is missing (there is {levels})")
        )
    if around["kind"] == "object" and around["spacing_deg"]["median"] > MIN_STEP_DEG:
        problems.append(
            (
                1,
                f"photos stand {around['spacing_deg']['median']:.0f} degrees apart;"
                f" {MIN_STEP_DEG:.0f} are the most that works",
            )
        )


def as_text(document: Mapping[str, Any]) -> str:
    """For a terminal, the verdict first."""
    rows = document["photos"]["list"]
    lines = [document["verdict"], ""]
    levels = Counter(row["level"] for row in rows)
    lines.append(
        f"photos    {document['photos']['usable']} of {document['photos']['total']} can be used:"
        f" {levels['good']} good, {levels['weak']} weak, {levels['bad']} bad"
    )
    for row in sorted((r for r in rows if r["level"] != "good"), key=lambda r: (r["level"] != "bad", r["name"]))[:20]:
        why = [x["text"] for x in row["findings"] if x["level"] != "note"] or [x["text"] for x in row["findings"]]
        if row["reason"]:
            why.append(row["reason"] if row["placed"] else f"was not placed: {row['reason']}")
        lines.append(f"  {row['name']}  {'; '.join(why)}. {row['advice'][:1].upper()}{row['advice'][1:]}")
        if row.get("fix"):
            lines.append(f"    would have helped: {row['fix']['words']}")
    hidden = sum(r["level"] != "good" for r in rows) - 20
    if hidden > 0:
        lines.append(f"  and {hidden} more, in the report")
    for r in document["photos"]["rejected"][:10]:
        lines.append(f"  {r['name']}  cannot be used: {r['reason']}")
    lines += [f"set       {x['text']}{'; ' + x['hint'] if x['hint'] else ''}" for x in document["set"]]
    a = document["alignment"]
    if a["done"]:
        o = a["overlap"]
        islands = sum(len(i) > 1 for i in a["graph"]["islands"])
        overlap = (
            ""
            if o["median"] is None
            else (
                f"; neighbours share {100 * o['median']:.0f} % (minimum 60, professional 80;"
                f" least {100 * o['least']:.0f} %)"
            )
        )
        lines.append(
            f"aligned   {a['placed']} of {len(rows)} photos placed, {islands} island{'s' * (islands != 1)}{overlap}"
        )
    else:
        lines.append(f"aligned   not: {a['why']}")
    r, c = document["around"], document["coverage"]
    if r is not None and r["kind"] == "object":
        tiers = ", ".join(f"{t['photos']} at {t['elevation_deg']:.0f}" for t in r["tiers"])
        lines.append(
            f"round     tiers (degrees): {tiers} (professional: {PRO_TIERS});"
            f" {r['spacing_deg']['median']:.0f} degrees to the next photo (minimum"
            f" {MIN_STEP_DEG:.0f}, professional {PRO_STEP_DEG:.0f})"
        )
    if c is not None:
        lines.append(
            f"coverage  {c['score']:.0f} of 100; {100 * c['below_3_views_share']:.1f} % of the surface has"
            f" fewer than 3 views (median {c['views_median']:.0f} views over {c['angle_median_deg'] or 0:.0f} degrees)"
        )
    lines += [f"connect   take photos {b['words']}" for b in document["bridges"]]
    if document["next"]:
        lines.append("next      take these photos, from here:")
        lines += [f"  {k}. {p['words']}" for k, p in enumerate(document["next"], 1)]
    return "\n".join(lines)
