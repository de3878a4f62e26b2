"""Shared pages: all in one file, within the size, nothing of the network, what is in them is what was made."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from rilievo.cli import main
from rilievo.errors import InputError
from rilievo.io import gltf, models
from rilievo.io.splats import read_splats, write_splats
from rilievo.types import Splats
from rilievo.view import compact, share, static
from rilievo.view.inline import inline_page
from view_scenes import box, cloud, hill, house, splats, textured_sphere

PAGE = """<!doctype html><html><head><meta charset="utf-8"><title>t</title>
<link rel="stylesheet" href="viewer/a.css">
<script type="importmap">{"imports": {"three": "./vendor/three.js", "three/addons/": "./vendor/addons/"}}</script>
<meta name="rilievo-splats-only" content="vendor/gauss.js">
</head><body><script type="module" src="viewer/main.js"></script></body></html>"""


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A page with modules that import each other; the real boot script."""
    root = tmp_path / "web"
    for name, text in {
        "viewer/share.html": PAGE,
        "viewer/a.css": "body{content:'</style>'}",
        "viewer/main.js": "import {x} from './lib/x.js';\nimport * as T from \"three\";\n"
        "const s = 'from ./no.js'; x(T, s);",
        "viewer/lib/x.js": "export function x() { return import('../lazy.js'); }",
        "viewer/lazy.js": "import('../vendor/gauss.js'); export default '</script><script>alert(1)</script>';",
        "vendor/three.js": 'export*from"./core.js";',
        "vendor/core.js": "export const A=1;",
        "vendor/addons/a/pass.js": "import '../b.js'",
        "vendor/addons/b.js": "import 'nothing'",
        "vendor/unused.js": "x",
        "vendor/gauss.js": "import 'three/addons/a/pass.js'",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copy(static.WEB / "viewer" / "share_boot.js", root / "viewer")
    monkeypatch.setattr(static, "WEB", root)
    return root


def parts(page: bytes) -> dict:
    """The documents in a page."""
    found = re.findall(r'<script type="application/json" id="rilievo-(\w+)">(.*?)</script>', page.decode(), re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode(text))


def test_modules_are_found_by_their_imports_and_renamed(web):
    page = inline_page(web, "viewer/share.html", {"title": "</script><b>"}, {"layer/x/0.bin": b"abc"})
    told = parts(page)
    modules = {k: unpacked(v).decode() for k, v in told["modules"]["modules"].items()}
    assert set(modules) == {"viewer/main.js", "viewer/lib/x.js", "viewer/lazy.js", "vendor/three.js", "vendor/core.js"}
    assert "'viewer/lib/x.js'" in modules["viewer/main.js"] and "'from ./no.js'" in modules["viewer/main.js"]
    assert "import('viewer/lazy.js')" in modules["viewer/lib/x.js"] and '"vendor/core.js"' in modules["vendor/three.js"]
    assert told["modules"]["names"] == {"three": "vendor/three.js"} and told["modules"]["entries"] == ["viewer/main.js"]
    assert told["scene"]["title"] == "</script><b>" and unpacked(told["files"]["layer/x/0.bin"]) == b"abc"
    more = parts(inline_page(web, "viewer/share.html", {}, {}, splats=True))["modules"]
    assert set(more["modules"]) - set(modules) == {"vendor/gauss.js", "vendor/addons/a/pass.js", "vendor/addons/b.js"}
    assert more["names"]["three/addons/a/pass.js"] == "vendor/addons/a/pass.js"
    text = page.decode()
    assert "src=" not in text and "href=" not in text and "<b>" not in text and text.count("</style>") == 1
    assert page == inline_page(web, "viewer/share.html", {"title": "</script><b>"}, {"layer/x/0.bin": b"abc"})


def test_a_page_with_a_missing_file_is_told(web):
    (web / "viewer" / "lib" / "x.js").unlink()
    (web / "viewer" / "a.css").unlink()
    with pytest.raises(InputError, match=r"a\.css"):
        inline_page(web, "viewer/share.html", {}, {})


def test_a_mesh_is_quantised_but_stays_where_it_is(tmp_path):
    mesh = textured_sphere(40)
    raw = compact.quantised_glb(mesh, np.array([1.0, 2, 3]), texture_size=128)
    assert len(raw) < 0.6 * sum(a.nbytes for a in (mesh.vertices, mesh.vertices, mesh.uvs, mesh.faces))
    root, blob = gltf.read_chunks(Path("x.glb"), raw)
    (primitive, matrix), attributes = gltf.placed(root)[0], root["meshes"][0]["primitives"][0]["attributes"]
    xyz = gltf.accessor(root, blob, attributes["POSITION"]).astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.abs(xyz + [1, 2, 3] - mesh.vertices).max() < 2 / 65535
    uv = gltf.accessor(root, blob, attributes["TEXCOORD_0"])
    assert np.abs(uv - np.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], 1)).max() < 1e-4
    normals = gltf.accessor(root, blob, attributes["NORMAL"])
    assert (normals * mesh.vertices).sum(1).min() > 0.98
    sigma = gltf.accessor(root, blob, attributes["_SIGMA"])
    assert np.allclose(sigma, mesh.sigma, rtol=0.004, atol=1e-30)
    assert np.array_equal(gltf.accessor(root, blob, primitive["indices"]).reshape(-1, 3), mesh.faces)


def test_a_house_is_shared_within_the_size(web, tmp_path, capsys):
    root = house(tmp_path / "hill", mesh=textured_sphere(150))
    assert main(["share", str(root), "-o", str(tmp_path / "a.html"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["what"] == "mesh" and told["count"] == 90_000
    small = tmp_path / "b.html"
    assert main(["share", str(root), "-o", str(small), "--max-size", "0.4M"]) == 0
    assert small.stat().st_size <= 0.4 * 2**20 < (tmp_path / "a.html").stat().st_size
    scene = parts(small.read_bytes())["scene"]
    assert scene["layers"][0]["levels"][0]["faces"] < 60_000 and scene["unit"] == "m" and scene["shared"]
    assert scene["layers"][0]["levels"][0]["url"] in parts(small.read_bytes())["files"]
    assert main(["share", str(root), "-o", str(small), "--max-size", "0.03M"]) == 1
    assert "--max-size" in capsys.readouterr().err


def test_splats_and_clouds_are_thinned_to_the_size(web, tmp_path):
    rng = np.random.default_rng(0)
    n = 20_000
    quats = rng.normal(size=(n, 4))
    many = Splats(
        rng.normal(size=(n, 3)).astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        rng.uniform(0.01, 0.1, (n, 3)).astype(np.float32),
        rng.uniform(0.1, 1, n).astype(np.float32),
        rng.normal(size=(n, 16, 3)).astype(np.float32) * np.float32(0.2),
    )
    write_splats(tmp_path / "s.ply", many)
    for limit, degree in ((3 << 20, 3), (700 << 10, 1), (200 << 10, 0)):
        page, told = share.share_page(tmp_path / "s.ply", None, limit)
        assert len(page) <= limit and told["what"] == "splats"
        entry = parts(page)["scene"]["layers"][0]
        assert entry["degree"] == degree and (entry["count"] == n) == (degree > 0)
        (tmp_path / "back.spz").write_bytes(unpacked(parts(page)["files"][entry["url"]]))
        assert len(read_splats(tmp_path / "back.spz").means) == entry["count"]
    models.write(tmp_path / "c.ply", cloud(50_000))
    page, told = share.share_page(tmp_path / "c.ply", None, 400 << 10)
    nodes = parts(page)["scene"]["layers"][0]["nodes"]
    assert len(page) <= 400 << 10 and told["count"] == sum(x["count"] for x in nodes) > 10_000
    files = parts(page)["files"]
    assert all(len(unpacked(files[x["url"]])) == 19 * x["count"] for x in nodes)


def test_what_is_not_there_cannot_be_shared(web, tmp_path):
    models.write(tmp_path / "box.glb", box())
    with pytest.raises(InputError, match="no splats"):
        share.share_page(tmp_path / "box.glb", "splats", 1 << 20)
    write_splats(tmp_path / "s.ply", splats())
    with pytest.raises(InputError, match="no mesh"):
        share.share_page(tmp_path / "s.ply", "mesh", 1 << 20)
    assert share.share_page(tmp_path / "box.glb", None, 1 << 20)[1]["count"] == 12
    assert hill(4).faces.shape == (32, 3)
