"""The training code of the embedded depth network: losses, pictures, folding of weights, stop and go."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="torch is not installed: the training code is tested with the extra `training`"
)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training import dataset, losses, network, train  # noqa: E402

torch.set_num_threads(1)

SIZE = 96


def write_shard(folder: Path, number: int = 0, count: int = 4) -> None:
    """A shard whose pictures tell their inverse depth: all three channels are 200 times it."""
    rng = np.random.default_rng(number)
    coarse = rng.uniform(0.2, 1.2, (count, 4, 4)).astype(np.float32)
    inverse = np.stack([cv2.resize(c, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR) for c in coarse])
    rgb = np.repeat(np.rint(inverse * 200).astype(np.uint8)[..., None], 3, 3)
    inverse[:, :4] = 0
    np.save(folder / f"rgb_{number:05d}.npy", rgb)
    np.save(folder / f"inverse_depth_{number:05d}.npy", inverse.astype(np.float16))
    about = [{"family": "test", "focal_px": 80.0, "seed": k} for k in range(count)]
    (folder / f"about_{number:05d}.json").write_text(json.dumps(about))


@pytest.fixture
def shards(tmp_path: Path) -> dataset.Shards:
    write_shard(tmp_path, 0)
    write_shard(tmp_path, 1)
    answer = dataset.Shards([tmp_path])
    assert answer.refresh() == 2
    assert len(answer) == 8
    return answer


def some_maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Disparity, target and pairs."""
    rng = np.random.default_rng(seed)
    target = torch.from_numpy(rng.uniform(0.1, 2.0, (2, 24, 32)).astype(np.float32))
    disparity = torch.from_numpy(rng.uniform(0.1, 2.0, (2, 24, 32)).astype(np.float32))
    return disparity, target, torch.from_numpy(rng.integers(0, 24 * 32, (2, 500)))


def terms_of(disparity: torch.Tensor, target: torch.Tensor, pairs: torch.Tensor, log_sigma: float = 0.0) -> dict:
    sky = torch.zeros_like(target)
    answer = (disparity, torch.full_like(target, log_sigma), sky, torch.zeros(len(target)))
    return losses.total_loss(answer, target, torch.zeros(len(target)), pairs, losses.LossWeights())[1]


def test_scale_and_shift_of_the_prediction_cost_nothing() -> None:
    disparity, target, pairs = some_maps()
    plain, moved = terms_of(disparity, target, pairs), terms_of(disparity * 3.5 + 0.8, target, pairs)
    for name in plain:
        assert moved[name] == pytest.approx(plain[name], rel=1e-4)


def test_an_affine_copy_of_the_truth_is_perfect_and_its_mirror_image_is_not() -> None:
    _, target, pairs = some_maps()
    right, wrong = terms_of(0.2 * target + 0.3, target, pairs), terms_of(3.0 - target, target, pairs)
    assert right["aligned"] < 1e-5
    assert right["gradient"] < 1e-5
    assert wrong["aligned"] > 1.0
    assert wrong["rank"] > 3 * right["rank"]


def test_cells_outside_of_the_picture_count_nowhere() -> None:
    disparity, target, pairs = some_maps()
    target[:, :, 20:] = dataset.OUTSIDE
    plain = terms_of(disparity, target, pairs)
    disparity[:, :, 20:] = 7.0
    assert terms_of(disparity, target, pairs) == plain


def test_the_doubt_is_cheapest_at_the_size_of_the_error() -> None:
    disparity, target, pairs = some_maps()
    error = terms_of(disparity, target, pairs)
    # The mean of |error| is the best Laplace scale; `aligned` weighs far places more, so find the best by trial.
    costs = {s: terms_of(disparity, target, pairs, s)["doubt"] for s in np.linspace(-2, 2, 81)}
    best = min(costs, key=costs.get)  # type: ignore[arg-type]
    assert math.exp(best) == pytest.approx(error["aligned"], rel=0.4)
    assert -2 < best < 2


def test_a_flat_picture_teaches_no_shape_but_gives_finite_values() -> None:
    disparity, _, pairs = some_maps()
    flat = terms_of(disparity, torch.full((2, 24, 32), 0.5), pairs)
    assert flat["aligned"] == 0.0
    all_sky = terms_of(disparity, torch.zeros(2, 24, 32), pairs)
    assert all(math.isfinite(value) for value in [*flat.values(), *all_sky.values()])


def test_gradient_of_the_loss_equals_central_differences() -> None:
    disparity, target, pairs = some_maps(3)
    disparity = disparity[:1, :8, :8].double().requires_grad_()
    target = target[:1, :8, :8].double()
    pairs = pairs % 64

    def loss(values: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros_like(target)
        answer = (values, zero, zero, torch.zeros(1, dtype=torch.float64))
        weights = losses.LossWeights(doubt=0.0)
        return losses.total_loss(answer, target, torch.zeros(1, dtype=torch.float64), pairs, weights)[0]

    (gradient,) = torch.autograd.grad(loss(disparity), disparity)
    rng = np.random.default_rng(0)
    for _ in range(6):
        direction = torch.from_numpy(rng.standard_normal(disparity.shape))
        step = 1e-6
        with torch.no_grad():
            change = (loss(disparity + step * direction) - loss(disparity - step * direction)) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(float(change), rel=2e-3, abs=1e-6)


def test_picture_and_truth_stay_together_when_cut_turned_and_mirrored(shards: dataset.Shards) -> None:
    seen = 0
    for seed in range(30):
        rgb, inverse, _ = shards.raw(seed % len(shards))
        picture, target, factor = dataset.cut(rgb, inverse, (48, 64), np.random.default_rng(seed))
        assert picture.shape == (48, 64, 3)
        assert target.shape == (24, 32)
        assert 0.6 < factor < 1.2
        half = picture[..., 0].astype(np.float32).reshape(24, 2, 32, 2).mean((1, 3)) / 200
        known = cv2.erode((target > 0).astype(np.uint8), np.ones((5, 5))) > 0
        seen += known.sum()
        assert np.abs(half - target)[known].max() < 0.05
    assert seen > 10000


def test_pictures_depend_on_seed_and_step_alone(shards: dataset.Shards) -> None:
    first, again = dataset.draw_batch(shards, 1, 7, 0, 2), dataset.draw_batch(shards, 1, 7, 0, 2)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    other = dataset.draw_batch(shards, 1, 8, 0, 2)
    assert other[0].shape != first[0].shape or not np.array_equal(other[0], first[0])
    whole, second = dataset.draw_batch(shards, 1, 7, 0, 4), dataset.draw_batch(shards, 1, 7, 1, 2)
    np.testing.assert_array_equal(whole[0][2:], second[0])
    height, width = first[0].shape[1:3]
    assert height % 32 == 0
    assert width % 32 == 0


def test_the_focal_length_follows_the_cut(shards: dataset.Shards) -> None:
    sample = dataset.draw_sample(shards, (64, 64), (0, 0, 1))
    # 80 px of 96; a cut of 60 to 100 % of the picture sees less, so it is relatively longer.
    assert 80 / 96 * 0.99 < math.exp(sample.log_focal) < 80 / 96 / 0.59


def test_a_shard_that_is_still_being_written_waits(tmp_path: Path) -> None:
    write_shard(tmp_path, 0)
    (tmp_path / "about_00001.json").write_text("[{")
    shards = dataset.Shards([tmp_path])
    assert shards.refresh() == 1


def fake_pretrained(encoder: network.Encoder) -> dict[str, torch.Tensor]:
    """Random weights under the package's names, with normalisation that does something."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, torch.Tensor] = {}

    def add(conv: torch.nn.Conv2d, name: str, norm: str) -> None:
        weights[f"{name}.weight"] = torch.randn(conv.weight.shape, generator=generator) * 0.2
        count = conv.out_channels
        weights[f"{norm}.weight"] = torch.rand(count, generator=generator) + 0.5
        weights[f"{norm}.bias"] = torch.randn(count, generator=generator)
        weights[f"{norm}.running_mean"] = torch.randn(count, generator=generator)
        weights[f"{norm}.running_var"] = torch.rand(count, generator=generator) + 0.5

    add(encoder.stem, "_conv_stem", "_bn0")
    for index, block in enumerate(encoder.blocks):
        if block.expand is not None:
            add(block.expand, f"_blocks.{index}._expand_conv", f"_blocks.{index}._bn0")
        add(block.depthwise, f"_blocks.{index}._depthwise_conv", f"_blocks.{index}._bn1")
        add(block.project, f"_blocks.{index}._project_conv", f"_blocks.{index}._bn2")
    return weights


def test_folding_the_normalisation_changes_nothing() -> None:
    encoder = network.Encoder("lite0")
    weights = fake_pretrained(encoder)
    encoder.load_pretrained(weights)
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain = torch.nn.functional.conv2d(image, weights["_conv_stem.weight"], stride=2, padding=1)
    normalised = torch.nn.functional.batch_norm(
        plain, *(weights[f"_bn0.{name}"] for name in ("running_mean", "running_var", "weight", "bias")), eps=1e-3
    )
    torch.testing.assert_close(encoder.stem(image), normalised, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("variant", "channels"), [("lite0", [16, 24, 40, 112, 320]), ("lite2", [16, 24, 48, 120, 352])]
)
def test_levels_of_the_encoder(variant: str, channels: list[int]) -> None:
    encoder = network.Encoder(variant)
    with torch.no_grad():
        levels = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (count, 64 // 2**k, 96 // 2**k) for k, count in enumerate(channels, 1)
    ]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    shards: dataset.Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "SIZES", ((32, 64), (64, 32)))
    config = train.TrainConfig(
        steps=4, batch=4, warm_up=1, frozen_share=0.3, network=network.NetworkConfig("lite0", (8, 8, 8, 8, 8))
    )

    def weights(state: train.State) -> list[np.ndarray]:
        return [value.numpy().copy() for value in state.average.state_dict().values()]

    whole = train.new_state(config, None)
    reports = list(train.train(whole, shards, config))
    assert [report["step"] for report in reports] == [1, 2, 3, 4]
    assert all(math.isfinite(value) for report in reports for value in report.values())
    stopped = train.new_state(config, None)
    run = train.train(stopped, shards, config)
    next(run), next(run)
    train.save(stopped, config, tmp_path / "checkpoint.pt")
    next(run)  # work that is lost
    run.close()
    resumed = train.new_state(config, None)
    train.restore(resumed, tmp_path / "checkpoint.pt")
    assert resumed.step == 2
    list(train.train(resumed, shards, config))
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    start = weights(train.new_state(config, None))
    assert any(not np.array_equal(a, b) for a, b in zip(weights(whole), start, strict=True))


def test_learning_rate_warms_up_and_falls() -> None:
    config = train.TrainConfig(steps=1000, warm_up=100)
    rates = [train.learning_rate(config, step, 0) for step in range(1000)]
    assert rates[0] < 0.02 * config.rate
    assert int(np.argmax(rates)) in range(90, 110)
    assert rates[-1] < 0.02 * config.rate
    assert train.learning_rate(config, 500, 500) < 0.02 * rates[500]  # a restart warms up again


def test_the_exported_model_answers_as_the_network(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: export is tested with the extra `training`")
    onnxruntime = pytest.importorskip("onnxruntime")
    from training import export

    config = train.TrainConfig(steps=1, network=network.NetworkConfig("lite0", (8, 8, 8, 8, 8)))
    state = train.new_state(config, None)
    train.save(state, config, tmp_path / "checkpoint.pt")
    with pytest.warns(DeprecationWarning):
        export.export(tmp_path / "checkpoint.pt", tmp_path / "model.onnx", "2026-01-01", "nothing")
    said = {entry.key: entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert said["trained"] == "2026-01-01"
    assert said["training_set"] == "nothing"
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).random((1, 3, 96, 64), np.float32)
    with torch.no_grad():
        answer = export.Exported(state.average.eval())(torch.from_numpy(image))
    for name, ours in zip(export.OUTPUTS, answer, strict=True):
        (theirs,) = session.run([name], {"image": image})
        assert theirs.shape == tuple(ours.shape)
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=0.02, atol=0.02)
