"""The result of a check as one HTML page with its pictures inside; it loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from rilievo.checking.drawing import plan_svg
from rilievo.report_page import html_table, image_tag, whole_page

if TYPE_CHECKING:
    from rilievo.checking.result import Checked

_CLASS = {"good": "good", "weak": "", "bad": "bad"}
_WORD = {"good": "good", "weak": "weak", "bad": "bad"}


def check_page(checked: Checked, title: str) -> str:
    """HTML of check.html."""
    d = checked.document
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{escape(d["verdict"])}</p>',
        *(f'<p class="warn">{escape(p[:1].upper() + p[1:])}</p>' for p in d["problems"]),
        _cards(d),
    ]
    plan = plan_svg(checked)
    if plan:
        body += ["<h2>Where photos were taken, and where to take the next</h2>", f"<figure>{plan}</figure>"]
    if d["next"]:
        items = "".join(f"<li>{escape(p['words'])} <small>(+{p['gain']:.1f} points)</small></li>" for p in d["next"])
        body += ["<h2>Take these photos next</h2>", f"<ol>{items}</ol>"]
    if d["bridges"]:
        items = "".join(f"<li>{escape(b['words'])}</li>" for b in d["bridges"])
        body += ["<h2>Connect the islands</h2>", f"<ul>{items}</ul>"]
    body += ["<h2>Photos</h2>", _photos(checked)]
    if d["set"]:
        rows = [(escape(x["text"]), escape(x["hint"])) for x in d["set"]]
        body += ["<h2>The set as a whole</h2>", html_table(("finding", "what to do"), rows)]
    body += ["<h2>How they hang together</h2>", _alignment(d)]
    return whole_page(title, "".join(body))


def _cards(d: Mapping[str, Any]) -> str:
    photos, a, c, r = d["photos"], d["alignment"], d["coverage"], d["around"]
    bad = sum(row["level"] == "bad" for row in photos["list"])
    cards = [(f"{photos['usable']} / {photos['total']}", "files can be used"), (str(bad), "photos are bad")]
    if a["done"]:
        cards.append((f"{a['placed']} / {photos['usable']}", "placed"))
        if a["overlap"]["median"] is not None:
            cards.append(
                (f"{100 * a['overlap']['median']:.0f} %", "overlap of neighbours (60 minimum, 80 professional)")
            )
    if c is not None:
        cards.insert(0, (f"{c['score']:.0f} / 100", "coverage"))
        cards.append((f"{100 * c['below_3_views_share']:.1f} %", "of the surface has fewer than 3 views"))
    if r is not None and r["kind"] == "object":
        cards.append((str(len(r["tiers"])), "tiers (2 minimum, 3 professional)"))
        cards.append((f"{r['spacing_deg']['median']:.0f}°", "to the next photo (30 minimum, 15 professional)"))
    inner = "".join(f'<div class="card"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in cards)
    return f'<div class="cards">{inner}</div>'


def _photos(checked: Checked) -> str:
    looks = {look.name: look for look in checked.looks}
    order = {"bad": 0, "weak": 1, "good": 2}
    rows = []
    for row in sorted(checked.document["photos"]["list"], key=lambda r: (order[r["level"]], r["name"])):
        look, q = looks[row["name"]], row["quality"]
        picture = image_tag(look.thumbnail, row["name"])
        crop = image_tag(look.crop, f"{row['name']} at 100 %") if row["level"] != "good" else ""
        said = [f'<span class="{_CLASS[row["level"]]}">{_WORD[row["level"]]}</span>']
        said += [
            escape(f["text"]) + (f" <small>({escape(f['hint'])})</small>" if f["hint"] else "") for f in row["findings"]
        ]
        if row["reason"]:
            said.append(escape(row["reason"] if row["placed"] else f"not placed: {row['reason']}"))
        if row.get("fix"):
            said.append(f"would have helped: {escape(row['fix']['words'])}")
        if row["advice"] != "keep":
            said.append(f"<b>{escape(row['advice'])}</b>")
        blur = "?" if q["sigma_px"] is None else f"{q['sigma_px']:.1f}"
        smear = f"{q['motion_px']:.0f}" if q["motion_px"] else ""
        rows.append(
            (picture, crop, escape(row["name"]), "<br>".join(said), blur, smear, f"{q['ev'] or 0:+.1f}",
             f"{q['noise'] or 0:.1f}", f"{100 * (q['textureless_share'] or 0):.0f} %")
        )  # fmt: skip
    for bad in checked.document["photos"]["rejected"]:
        rows.append(("", "", escape(bad["name"]), f'<span class="bad">{escape(bad["reason"])}</span>', *[""] * 5))
    head = ("", "at 100 %", "photo", "verdict", "blur px", "smear px", "EV", "noise", "no texture")
    return html_table(head, rows, numeric=(4, 5, 6, 7, 8))


def _alignment(d: Mapping[str, Any]) -> str:
    a, c, r = d["alignment"], d["coverage"], d["around"]
    if not a["done"]:
        return f'<p class="warn">{escape(a["why"])}</p>'
    rows = [
        ("Placed", f"{a['placed']} photos, mean reprojection error {a['reprojection_error_px']} px at low resolution"),
        ("Islands", "; ".join(f"{len(i)} photos ({i[0]} ...)" for i in a["graph"]["islands"][:6])),
        ("Weak links", "; ".join(f"{w['photos'][0]} to {w['photos'][1]}: {w['matches']} matches" for w in a["graph"]["weak_links"][:6]) or "none"),
        ("Overlap below the minimum", ", ".join(a["overlap"]["below_minimum"][:12]) or "none"),
        ("Overlap below professional", f"{a['overlap']['below_professional']} photos"),
    ]  # fmt: skip
    if r is not None:
        rows.append(("Kind of capture", r["kind"]))
        if r["kind"] == "object":
            tiers = "; ".join(
                f"{t['photos']} photos at {t['elevation_deg']:.0f}°, one every {t['step_deg']:.0f}°" for t in r["tiers"]
            )
            rows.append(("Tiers", tiers))
    if c is not None:
        rows.append(
            (
                "Views of a patch",
                f"{c['views_median']:.0f} (median), spanning {c['angle_median_deg']}°, the squarest {c['incidence_median_deg']}° aslant",
            )
        )
        rows.append(
            (
                "Coverage",
                f"{c['surface_score']:.0f} of 100 for the surface ({c['surface']}); {c['missing_round_deg']:.0f}° of the round are missing",
            )
        )
    return html_table(("", ""), [(escape(k), escape(v)) for k, v in rows])
