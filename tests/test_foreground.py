"""The learned foreground: two looks, wide doubts cut by colour, boxes; colours of cut-outs without their background."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from prepare_scenes import iou, jpeg, noisy, photo, turntable, write
from rilievo import cli
from rilievo.errors import InputError
from rilievo.networks import Network, open_network
from rilievo.stages import cutout, foreground
from rilievo.stages.matte import own_colors
from rilievo.stages.onnx_graph import Graph, field
from rilievo.stages.onnx_resized import resized
from rilievo.types import Camera
from test_segment import fake_foreground


def resizing(side: int) -> bytes:
    """A network of one size: half the picture, brought back to a size that stands in it as a constant."""
    g = Graph()
    x = g.input("input", [1, 3, side, side])
    half = g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    w = g.constant(np.eye(1, 3, dtype=np.float32).reshape(1, 3, 1, 1))
    g.output(_resize(g, g.node("Conv", half, w), side), "output", [1, 1, side, side])
    return g.model()


def _resize(g: Graph, x: str, side: int) -> str:
    """As exporters write it: the first two sizes from the picture's shape, the last two from a Constant node."""
    shape = g.node("Shape", x)
    first = g.node("Slice", shape, g.constant(np.array([0])), g.constant(np.array([2])), g.constant(np.array([0])))
    raw = field(1, 2) + field(2, 7) + field(9, np.array([side, side], "<i8").tobytes())
    node = field(2, "size") + field(4, "Constant") + field(5, field(1, "value") + field(5, raw) + field(20, 4))
    g._nodes.append(node)
    sizes = g.node("Concat", first, "size", axis=0)
    return g.node("Resize", x, "", "", sizes, mode="linear")


def test_a_network_of_one_size_takes_another() -> None:
    x = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
    found = open_network(resized(resizing(64), 64, 32), engine="cpu", threads=1)
    made = open_network(resizing(32), engine="cpu", threads=1)
    assert found.inputs == made.inputs == {"input": (1, 3, 32, 32)}
    (a,), (b,) = (n.run(["output"], {"input": x}) for n in (found, made))
    assert a.shape == (1, 1, 32, 32) and np.array_equal(a, b)
    with pytest.raises(InputError, match="cannot be made smaller"):
        resized(resizing(65), 64, 32)


@pytest.mark.parametrize(
    "bad", [b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x3a\x50short", b"hello, world"]
)
def test_rubbish_is_no_network(bad: bytes) -> None:
    with pytest.raises(InputError, match="not an ONNX model"):
        resized(bad, 1024, 512)


class Fake(Network):
    """Answers with what a function makes of the picture shown (side, side, 3), -0.5..0.5."""

    def run(self, outputs: Any, arrays: Any) -> list[np.ndarray]:
        return [self.session(arrays["input"][0].transpose(1, 2, 0))[None, None].astype(np.float32)]


def fakes(fine: Any, coarse: Any) -> foreground.Foreground:
    return foreground.Foreground(
        *(
            Fake({"input": (1, 3, s, s)}, {"output": (1, 1, s, s)}, "cpu", 1, f)
            for f, s in ((fine, 1024), (coarse, 512))
        )
    )


def red(seen: np.ndarray) -> np.ndarray:
    return np.clip((seen[..., 0] - seen[..., 1]) * 2, 0, 1)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A red ring on grey: (pixels, outline)."""
    y, x = np.mgrid[:300, :400]
    r = np.hypot(x - 200, y - 150)
    true = (r < 90) & (r > 45)
    return np.where(true[..., None], (240, 20, 20), (110, 112, 115)).astype(np.uint8), true


def test_a_look_that_sees_nothing_takes_nothing_away_and_a_clearer_one_decides() -> None:
    pixels, true = scene()
    nothing = lambda seen: np.zeros(seen.shape[:2])  # noqa: E731
    for network in (fakes(red, nothing), fakes(nothing, red)):
        assert iou(foreground.foreground(pixels, network) > 0.5, true) > 0.97
    # The fine look is half sure that the hole belongs to it, the coarse one is sure that it does not.
    filled = lambda seen: np.maximum(red(seen), 0.7 * (np.hypot(*_middle(seen)) < 0.2))  # noqa: E731
    assert iou(foreground.glance(pixels, fakes(filled, red)) > 0.5, true) < 0.9
    matte = foreground.foreground(pixels, fakes(filled, red))
    assert iou(matte > 0.5, true) > 0.97 and matte.dtype == np.float32
    assert matte.tobytes() == foreground.foreground(pixels, fakes(filled, red)).tobytes()


def _middle(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: seen.shape[0], : seen.shape[1]] / seen.shape[0] - 0.5
    return y, x


def test_wide_doubts_are_cut_by_colour_and_soft_edges_stay() -> None:
    pixels, true = scene()
    soft = cv2.GaussianBlur(true.astype(np.float32), (0, 0), 1.5)
    y, x = np.mgrid[:300, :400]
    hole = np.hypot(x - 200, y - 150) < 40
    doubtful = np.where(hole, np.float32(0.8), soft)
    matte = foreground.cut_where_unsure(pixels, doubtful)
    assert matte[hole].mean() < 0.05
    edge = (soft > 0.2) & (soft < 0.8) & (np.hypot(x - 200, y - 150) > 80)
    assert np.abs(matte - soft)[edge].max() < 0.05
    grey = np.full_like(pixels, 120)  # no colour tells: the network's doubt stays
    assert np.array_equal(foreground.cut_where_unsure(grey, doubtful), doubtful)


def test_a_box_says_which_thing_is_wanted() -> None:
    pixels = np.full((300, 400, 3), 112, np.uint8)
    pixels[40:120, 40:140], pixels[160:260, 220:360] = (240, 20, 20), (30, 60, 220)
    true = np.zeros((300, 400), bool)
    true[160:260, 220:360] = True
    network = fakes(red, red)  # which has eyes for the red one only
    for net in (network, None):
        matte, _, note = foreground.in_box(pixels, net, (210, 150, 160, 120))
        assert iou(matte > 0.5, true) > 0.97 and "colours" in note
    matte, trust, note = foreground.in_box(pixels, network, (36, 36, 108, 88))
    assert (
        "network" in note and trust > 0.5 and (matte[40:120, 40:140] > 0.5).mean() > 0.97 and matte[:, 150:].max() < 0.1
    )
    with pytest.raises(InputError, match="holds nothing"):
        foreground.in_box(pixels, network, (500, 10, 50, 50))


def test_edges_take_no_colour_of_their_background_along() -> None:
    y, x = np.mgrid[:200, :300]
    alpha = np.clip((70 - np.hypot(x - 150, y - 100)) / 12 + 0.5, 0, 1)
    own = np.stack([180 + 30 * np.sin(x / 30), 90 + 0 * x, 60 + 20 * np.cos(y / 20)], -1)
    mixed = own * alpha[..., None] + np.array([20, 200, 40]) * (1 - alpha[..., None])
    pixels, mask = np.rint(mixed).astype(np.uint8), np.rint(alpha * 255).astype(np.uint8)
    found = own_colors(pixels, mask)
    edge = (alpha > 0.1) & (alpha < 0.9)
    before, after = (np.abs(p[edge] - own[edge]).mean() for p in (pixels.astype(float), found.astype(float)))
    assert before > 30 and after < 7
    assert np.array_equal(found[mask == 255], pixels[mask == 255]) and np.array_equal(found[:5], pixels[:5])
    deep = own_colors(pixels.astype(np.uint16) * 257, mask.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16 and np.abs(deep / 257.0 - found)[edge].max() < 1.5
    assert np.array_equal(own_colors(pixels, np.zeros_like(mask)), pixels)


def test_a_printed_table_is_told_from_what_stands_on_it() -> None:
    camera = Camera("OPENCV", 560, 420, np.array([602.0, 602.0, 284.0, 206.5, -0.05, 0.01, 0.0, 0.0]))
    values = []
    for pixels, empty, true in turntable(2, seed=5, plain=False, camera=camera):
        found = cutout.by_difference(pixels, empty)
        assert found is not None
        values.append(iou(found.mask > 127, true))
    assert np.mean(values) > 0.86


def test_prepare_takes_a_box(tmp_path, capsys) -> None:
    pixels = noisy(np.full((240, 320, 3), 112, np.uint8), 1.0)
    pixels[60:180, 90:230] = photo(4, (140, 120)) // 2 + np.array([100, 0, 0], np.uint8)
    source = write(tmp_path / "in/a.jpg", jpeg(pixels, 95))
    base = ["prepare", str(source), "--quiet", "--threads", "1", "-o", str(tmp_path / "out")]
    options = [*base, "--remove-background", "--background", "grabcut"]
    assert cli.main([*options, "--box", "80,50,160,140"]) == 0
    alpha = cv2.imread(str(tmp_path / "out/photos/a.png"), cv2.IMREAD_UNCHANGED)[..., 3]
    true = np.zeros((240, 320), bool)
    true[60:180, 90:230] = True
    assert iou(alpha > 127, true) > 0.95
    for wrong, words in (
        ([*options, "--box", "1,2,3"], "is no box"),
        ([*base, "--box", "1,2,30,30"], "nothing is to be cut out"),
        ([*options[:-1], "backdrop", "--box", "1,2,30,30"], "of no use"),
    ):
        assert cli.main(wrong) == 1
        assert words in capsys.readouterr().err


def test_the_fake_opens_at_both_sizes() -> None:
    network = foreground.open_foreground(fake_foreground(), threads=1)
    assert network.fine.inputs["input"][-1] == 1024 and network.coarse.inputs["input"][-1] == 512
