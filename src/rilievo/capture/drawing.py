"""Pages of lines, shapes and text that become SVG or PDF. Lengths are millimetres from the upper left corner."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

Point = tuple[float, float]
_MM = 72 / 25.4  # points of a PDF
# Widths of Helvetica in thousandths of its size, for centring: letters by groups, the rest 556.
_NARROW = dict.fromkeys(" .,:;|!/\\tfI[]()", 278) | dict.fromkeys("ijl'", 222) | dict.fromkeys("mM", 833)
_NARROW |= (
    dict.fromkeys("ABEKPSVXY&", 667) | dict.fromkeys("CDHNRUw", 722) | dict.fromkeys("GOQ", 778) | {"W": 944, "r": 333}
)


def text_width(text: str, size: float) -> float:
    """Width of a line in Helvetica, about."""
    return sum(_NARROW.get(c, 556) for c in text) * size / 1000


@dataclass
class Page:
    """One page. Colours are "#rrggbb"."""

    width: float = 210.0
    height: float = 297.0
    _svg: list[str] = field(default_factory=list)
    _pdf: list[str] = field(default_factory=list)

    def poly(
        self, points: Sequence[Point], *, stroke: str | None = "#222222", fill: str | None = None, width: float = 0.2,
        closed: bool = False, dash: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        """A line through points, or a shape."""
        if len(points) < 2:
            return
        path = " ".join(f"{'M' if k == 0 else 'L'}{x:.3f} {y:.3f}" for k, (x, y) in enumerate(points))
        style = f'fill="{fill or "none"}" stroke="{stroke or "none"}" stroke-width="{width:.3f}"'
        style += f' stroke-dasharray="{dash[0]:g} {dash[1]:g}"' if dash else ""
        self._svg.append(f'<path d="{path}{"Z" if closed else ""}" {style} stroke-linejoin="round"/>')
        steps = " ".join(f"{self._at(p)} {'m' if k == 0 else 'l'}" for k, p in enumerate(points))
        self._shape(steps + (" h" if closed else ""), stroke, fill, width, dash)

    def line(self, a: Point, b: Point, **style: object) -> None:
        """A straight line."""
        self.poly([a, b], **style)  # type: ignore[arg-type]

    def circle(
        self, at: Point, radius: float, *, stroke: str | None = None, fill: str | None = "#222222", width: float = 0.2
    ) -> None:
        """A dot or a ring."""
        style = f'fill="{fill or "none"}" stroke="{stroke or "none"}" stroke-width="{width:.3f}"'
        self._svg.append(f'<circle cx="{at[0]:.3f}" cy="{at[1]:.3f}" r="{radius:.3f}" {style}/>')
        x, y, r = at[0], at[1], radius
        k = 0.5523 * r  # four Bezier arcs
        arcs = [
            ((x + r, y + k), (x + k, y + r), (x, y + r)),
            ((x - k, y + r), (x - r, y + k), (x - r, y)),
            ((x - r, y - k), (x - k, y - r), (x, y - r)),
            ((x + k, y - r), (x + r, y - k), (x + r, y)),
        ]
        path = f"{self._at((x + r, y))} m " + " ".join(" ".join(self._at(p) for p in arc) + " c" for arc in arcs)
        self._shape(path + " h", stroke, fill, width, None)

    def text(
        self,
        at: Point,
        text: str,
        *,
        size: float = 3.2,
        color: str = "#222222",
        bold: bool = False,
        anchor: str = "start",
    ) -> None:
        """One line; at: its base line's start, middle or end (anchor)."""
        weight = ' font-weight="bold"' if bold else ""
        self._svg.append(
            f'<text x="{at[0]:.3f}" y="{at[1]:.3f}" font-size="{size:.3f}" fill="{color}" '
            f'text-anchor="{anchor}"{weight}>'
            f"{escape(text)}</text>"
        )
        shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * text_width(text, size)
        raw = text.encode("cp1252", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
        font = "F2" if bold else "F1"
        self._pdf.append(
            f"BT {_rgb(color)} rg /{font} {size * _MM:.3f} Tf {self._at((at[0] - shift, at[1]))} Td ("
            f"{raw.decode('latin-1')}) Tj ET"
        )

    def _at(self, point: Point) -> str:
        return f"{point[0] * _MM:.3f} {(self.height - point[1]) * _MM:.3f}"

    def _shape(
        self, path: str, stroke: str | None, fill: str | None, width: float, dash: tuple[float, float] | None
    ) -> None:
        how = {(True, True): "B", (True, False): "S", (False, True): "f", (False, False): "n"}[bool(stroke), bool(fill)]
        start = f"{width * _MM:.3f} w "
        start += f"[{dash[0] * _MM:.3f} {dash[1] * _MM:.3f}] 0 d " if dash else "[] 0 d "
        start += f"{_rgb(stroke)} RG " if stroke else ""
        start += f"{_rgb(fill)} rg " if fill else ""
        self._pdf.append(f"{start}{path} {how}")

    def svg(self) -> str:
        """The page as an SVG document."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:g}mm" height="{self.height:g}mm" '
            f'viewBox="0 0 {self.width:g} {self.height:g}" font-family="Helvetica, Arial, sans-serif">\n'
            f'<rect width="{self.width:g}" height="{self.height:g}" fill="#ffffff"/>\n'
            + "\n".join(self._svg)
            + "\n</svg>\n"
        )


def _rgb(color: str) -> str:
    return " ".join(f"{int(color[k : k + 2], 16) / 255:.3f}" for k in (1, 3, 5))


def pdf(pages: Sequence[Page], title: str = "") -> bytes:
    """A PDF 1.4 of some pages, with the fonts that every reader has."""
    objects: list[bytes] = []
    kids = " ".join(f"{5 + 2 * k} 0 R" for k in range(len(pages)))
    objects.append(b"<< /Type /Catalog /Pages 2 0 R >>")
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    for font in ("Helvetica", "Helvetica-Bold"):
        objects.append(f"<< /Type /Font /Subtype /Type1 /BaseFont /{font} /Encoding /WinAnsiEncoding >>".encode())
    for k, page in enumerate(pages):
        box = f"[0 0 {page.width * _MM:.3f} {page.height * _MM:.3f}]"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Contents {6 + 2 * k} 0 R "
            f"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>".encode()
        )
        raw = zlib.compress("\n".join(page._pdf).encode("latin-1"), 9)
        objects.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(raw), raw))
    safe = title.encode("cp1252", "replace").replace(b"\\", b"").replace(b"(", b"[").replace(b")", b"]")
    objects.append(b"<< /Title (%s) /Producer (rilievo) >>" % safe)
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1, len(objects), start,
    )  # fmt: skip
    return bytes(out)
