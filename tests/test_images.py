"""PSNR, SSIM and LPIPS: against their definitions, against other programs' figures, and what they refuse."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from rilievo import weights
from rilievo.errors import InputError, MissingError
from rilievo.evaluate import perceptual
from rilievo.evaluate.images import lpips, psnr, ssim
from rilievo.networks import open_network
from rilievo.torch_files import load_tensors


def pictures(h: int = 40, w: int = 53, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture with stripes, and the same with noise, uint8."""
    y, x = np.mgrid[:h, :w] / 10.0
    truth = np.stack([0.5 + 0.4 * np.sin(x + y), 0.3 + 0.2 * np.cos(3 * x), (x + y) / (x + y).max()], -1)
    image = np.clip(truth + np.random.default_rng(2).normal(0, noise, truth.shape), 0, 1)
    return np.round(255 * image).astype(np.uint8), np.round(255 * truth).astype(np.uint8)


def test_psnr_is_its_definition() -> None:
    image, truth = pictures()
    mse = ((image.astype(float) - truth) ** 2).mean() / 255**2
    assert psnr(image, truth) == pytest.approx(10 * np.log10(1 / mse), abs=1e-12)
    assert psnr(image / np.float32(255), truth / 255.0) == pytest.approx(psnr(image, truth), abs=1e-5)
    assert psnr(truth, truth) == float("inf")
    assert psnr(np.zeros((3, 4, 3)), np.full((3, 4, 3), 0.1)) == pytest.approx(20)


def test_psnr_in_a_mask() -> None:
    image, truth = pictures()
    mask = np.zeros(image.shape[:2], bool)
    mask[5:20, 7:30] = True
    assert psnr(image, truth, mask) == pytest.approx(psnr(image[5:20, 7:30], truth[5:20, 7:30]))


def slow_ssim(a: np.ndarray, b: np.ndarray, pad: int) -> np.ndarray:
    """Wang et al. 2004, equations 13 to 16, one window after the other."""
    t = np.arange(-5, 6)
    weight = np.exp(-(t[:, None] ** 2 + t[None] ** 2) / (2 * 1.5**2))
    weight = (weight / weight.sum())[..., None]
    a, b = (np.pad(x / 255.0, ((pad, pad), (pad, pad), (0, 0))) for x in (a, b))
    out = np.zeros((a.shape[0] - 10, a.shape[1] - 10, 3))
    for i, j in np.ndindex(out.shape[:2]):
        x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
        mx, my = (weight * x).sum((0, 1)), (weight * y).sum((0, 1))
        vx, vy = (weight * (x - mx) ** 2).sum((0, 1)), (weight * (y - my) ** 2).sum((0, 1))
        cov = (weight * (x - mx) * (y - my)).sum((0, 1))
        out[i, j] = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    return out


def test_ssim_is_its_definition() -> None:
    image, truth = pictures(30, 25)
    assert ssim(image, truth) == pytest.approx(slow_ssim(image, truth, 0).mean(), abs=1e-10)
    padded = slow_ssim(image, truth, 5)
    assert ssim(image, truth, padding="zero") == pytest.approx(padded.mean(), abs=1e-10)
    assert ssim(truth, truth) == pytest.approx(1, abs=1e-12)
    assert ssim(image, truth) == ssim(truth, image)
    mask = np.zeros((30, 25), bool)
    mask[8:17, 9:14] = True
    assert ssim(image, truth, mask) == pytest.approx(slow_ssim(image, truth, 0)[3:12, 4:9].mean(), abs=1e-10)
    assert ssim(image, truth, mask, padding="zero") == pytest.approx(padded[mask].mean(), abs=1e-10)


def test_ssim_gives_the_figures_of_scikit_image() -> None:
    """structural_similarity of scikit-image 0.26 (gaussian_weights, sigma 1.5, use_sample_covariance=False,
    channel_axis=2, data_range=1) of the same pictures."""
    image, truth = pictures()
    assert ssim(image, truth) == pytest.approx(SKIMAGE[0], abs=1e-6)
    noisy, _ = pictures(noise=0.2)
    assert ssim(noisy, truth) == pytest.approx(SKIMAGE[1], abs=1e-6)


SKIMAGE = (0.6311175307509741, 0.14129333435952407)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_what_cannot_be_compared_is_refused(metric) -> None:
    image, truth = pictures()
    for bad, words in (
        (image[:-1], "differ in size"),
        (image[..., :1], "differ in size"),
        (image.astype(np.int64), "type int64"),
        (image.astype(float), "floats run from"),
        (np.where(np.arange(3) == 1, np.nan, image / 255.0), "cannot be compared"),
    ):
        with pytest.raises(InputError) as caught:
            metric(bad, truth)
        assert words in str(caught.value)
    with pytest.raises(InputError, match="no colour pictures"):
        metric(image[..., 0], truth[..., 0])
    with pytest.raises(InputError, match="no colour pictures"):
        metric(image[:0], truth[:0])
    with pytest.raises(InputError, match="the mask does not fit"):
        metric(image, truth, np.ones((3, 3), bool))
    with pytest.raises(InputError, match="nothing to compare"):
        metric(image, truth, np.zeros(image.shape[:2], bool))
    if metric is ssim:
        with pytest.raises(InputError, match="too small for SSIM"):
            ssim(image[:10], truth[:10])
        with pytest.raises(InputError, match="unknown padding"):
            ssim(image, truth, padding="mirror")  # type: ignore[arg-type]


# LPIPS


def legacy_torch_file(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A state file as torch wrote it before version 1.6, without torch."""
    import collections

    class Storage:
        def __init__(self, key: str, size: int) -> None:
            self.key, self.size = key, size

    class Tensor:
        def __init__(self, storage: Storage, shape: tuple[int, ...]) -> None:
            self.storage, self.shape = storage, shape

        def __reduce__(self) -> tuple:
            steps = np.cumprod([1, *self.shape[:0:-1]])[::-1].tolist()
            return _rebuild_tensor_v2, (self.storage, 0, self.shape, tuple(steps), False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", "FLOAT", value.key, "cpu", value.size, None) if isinstance(value, Storage) else None

    storages = {name: Storage(str(1000 + i), a.size) for i, (name, a) in enumerate(tensors.items())}
    state = collections.OrderedDict((n, Tensor(storages[n], a.shape)) for n, a in tensors.items())
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(state)
    text = buffer.getvalue().replace(f"{__name__}\n_rebuild_tensor_v2".encode(), b"torch._utils\n_rebuild_tensor_v2")
    text = text.replace(b"X\x05\x00\x00\x00FLOAT", b"ctorch\nFloatStorage\n")
    with path.open("wb") as f:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(head, f, 2)
        f.write(text)
        pickle.dump([s.key for s in storages.values()], f, 2)
        for a in tensors.values():
            f.write(a.size.to_bytes(8, "little") + a.astype("<f4").tobytes())


def _rebuild_tensor_v2(*_: object) -> None:
    """Stands in for torch._utils._rebuild_tensor_v2 in the pickles written here."""


def network_tensors(net: str, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random weights in the shapes of the published ones, but with a sixteenth of the channels."""
    shapes = {
        "alex": [(0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3)],
        "vgg": [(n, c, 3) for n, c in zip((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
                                           (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512))],
    }[net]  # fmt: skip
    taken = {"alex": (0, 3, 6, 8, 10), "vgg": (2, 7, 14, 21, 28)}[net]
    rng, classifier, heads, before = np.random.default_rng(seed), {}, {}, 3
    for number, width, size in shapes:
        channels = width // 16
        scale = np.sqrt(2 / (before * size * size))
        classifier[f"features.{number}.weight"] = rng.normal(0, scale, (channels, before, size, size)).astype("f4")
        classifier[f"features.{number}.bias"] = rng.normal(0, 0.1, channels).astype("f4")
        if number in taken:
            heads[f"lin{len(heads)}.model.1.weight"] = rng.random((1, channels, 1, 1)).astype("f4")
        before = channels
    return classifier, heads


def slow_lpips(net: str, a: np.ndarray, b: np.ndarray, classifier: dict, heads: dict) -> float:
    """Zhang et al. 2018, equation 1, with convolutions as sums over shifted pictures."""

    def conv(x: np.ndarray, number: int, stride: int, pad: int) -> np.ndarray:
        weight = classifier[f"features.{number}.weight"].astype(float)
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
        size = weight.shape[2]
        h, w = ((n - size) // stride + 1 for n in x.shape[1:])
        out = np.zeros((len(weight), h, w)) + classifier[f"features.{number}.bias"].astype(float)[:, None, None]
        for i, j in np.ndindex(size, size):
            part = x[:, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
            out += np.einsum("oc,chw->ohw", weight[:, :, i, j], part)
        return np.maximum(out, 0)

    def pooled(x: np.ndarray, size: int) -> np.ndarray:
        h, w = ((n - size) // 2 + 1 for n in x.shape[1:])
        parts = [x[:, i : i + 2 * h - 1 : 2, j : j + 2 * w - 1 : 2] for i, j in np.ndindex(size, size)]
        return np.max(parts, 0)

    def features(x: np.ndarray) -> list[np.ndarray]:
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, pixels 0..1
        x, out = ((x - mean) / std).transpose(2, 0, 1), []
        plan = {
            "alex": [(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)],
            "vgg": [(n, 1, 1) for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)],
        }[net]
        pool_before = {"alex": (3, 6), "vgg": (5, 10, 17, 24)}[net]
        taken = {"alex": (0, 3, 6, 8, 10), "vgg": (2, 7, 14, 21, 28)}[net]
        for number, stride, pad in plan:
            if number in pool_before:
                x = pooled(x, 3 if net == "alex" else 2)
            x = conv(x, number, stride, pad)
            if number in taken:
                out.append(x / (np.linalg.norm(x, axis=0, keepdims=True) + 1e-10))
        return out

    total = 0.0
    for i, (fa, fb) in enumerate(zip(features(a), features(b))):
        total += (heads[f"lin{i}.model.1.weight"][0] * (fa - fb) ** 2).sum(0).mean()
    return total


@pytest.fixture
def own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts small random networks where the published ones would be."""
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()

    def put(net: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        tensors, own = network_tensors(net), {}
        for name, values in zip(perceptual.NETS[net][:2], tensors):
            legacy_torch_file(tmp_path / name, values)
            own[name] = weights.file_sha256(tmp_path / name)
            (tmp_path / name).rename(weights._stored(name, own[name]))
        (tmp_path / "weights" / "own.json").write_text(json.dumps(own))
        return tensors

    perceptual._network.cache_clear()
    yield put
    perceptual._network.cache_clear()


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_its_definition(net: str, own_weights) -> None:
    classifier, heads = own_weights(net)
    image, truth = pictures(67, 50)
    expected = slow_lpips(net, image / 255.0, truth / 255.0, classifier, heads)
    assert expected > 0.01
    # The published program rounds mean and deviation of ImageNet, doubled, to three digits.
    assert lpips(image, truth, net=net) == pytest.approx(expected, rel=5e-3)
    assert lpips(image, truth, net=net) == lpips(image, truth, net=net)
    assert lpips(truth, truth, net=net) == 0
    assert lpips(image / 255.0, truth / 255.0, net=net) == pytest.approx(lpips(image, truth, net=net), rel=1e-5)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_without_weights_says_how_to_get_them(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path))
    image, truth = pictures()
    with pytest.raises(MissingError) as caught:
        lpips(image, truth, net=net)
    backbone = {"alex": "alexnet", "vgg": "vgg16"}[net]
    assert caught.value.hint == f"Get them with: rilievo weights get {backbone} lpips-{net} --accept-licence"
    assert backbone in caught.value.why and "MB" in caught.value.why


def test_lpips_refuses_what_it_cannot_do(own_weights) -> None:
    image, truth = pictures()
    with pytest.raises(InputError, match="too small for LPIPS"):
        lpips(image[:31], truth[:31])
    with pytest.raises(InputError, match="unknown network 'squeeze'"):
        lpips(image, truth, net="squeeze")
    with pytest.raises(InputError, match="differ in size"):
        lpips(image[:-1], truth)
    classifier, heads = network_tensors("alex")
    del classifier["features.6.bias"]
    with pytest.raises(KeyError, match=r"features\.6\.bias"):
        perceptual.build("alex", classifier, heads)


def test_the_graph_takes_pictures_of_any_size() -> None:
    network = open_network(perceptual.build("alex", *network_tensors("alex")), engine="cpu", threads=1)
    assert network.inputs == {"image": (1, 3, "h", "w"), "truth": (1, 3, "h", "w")}
    assert list(network.outputs) == ["distance"]


def test_old_torch_files_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    tensors = {"a": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "b": np.ones(5, np.float32)}
    legacy_torch_file(tmp_path / "a.pth", tensors)
    read = load_tensors(tmp_path / "a.pth")
    assert read.keys() == tensors.keys() and all(np.array_equal(read[k], tensors[k]) for k in tensors)
    whole = (tmp_path / "a.pth").read_bytes()
    for cut in (0, 3, 20, len(whole) // 2, len(whole) - 4):
        (tmp_path / "b.pth").write_bytes(whole[:cut])
        with pytest.raises(InputError, match="not a file of weights"):
            load_tensors(tmp_path / "b.pth")
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] = rng.integers(256)
        (tmp_path / "b.pth").write_bytes(broken)
        try:
            load_tensors(tmp_path / "b.pth")
        except InputError:
            continue
