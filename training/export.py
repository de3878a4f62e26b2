"""Export a checkpoint as the embedded model: `python training/export.py --checkpoint FILE --out FILE.onnx`.

Weights are stored as 16 bit floats and widened once when the model is loaded: half the bytes, the same speed, and
answers that differ by less than the picture's own noise.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training.network import DepthNetwork, NetworkConfig

OUTPUTS = ("disparity", "log_sigma", "sky", "log_focal")
"""Names of the model's answers."""
OPSET = 17


class Exported(nn.Module):
    """The network with answers at the picture's own size."""

    def __init__(self, network: DepthNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Answer disparity, log_sigma and sky (n, h, w) and log_focal (n,) for `image` (n, 3, h, w) in 0..1."""
        disparity, log_sigma, sky, log_focal = self.network(image)
        maps = torch.stack([disparity, log_sigma, sky], 1)
        maps = F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)
        return maps[:, 0], maps[:, 1], maps[:, 2], log_focal


def load_average(checkpoint: Path) -> tuple[DepthNetwork, dict[str, Any]]:
    """Read the running average of the weights, and the rest of the checkpoint."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    settings = content["config"]["network"]
    network = DepthNetwork(NetworkConfig(settings["encoder"], tuple(settings["widths"])))
    network.load_state_dict(content["average"])
    return network.eval(), content


def narrow_weights(model: Any) -> None:
    """Store float32 constants of more than 64 numbers as float16, each widened by a Cast when the model loads."""
    from onnx import TensorProto, helper, numpy_helper

    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size <= 64:
            kept.append(tensor)
            continue
        if np.abs(values).max() > 60000:
            raise ValueError(f"{tensor.name} does not fit 16 bit floats")
        kept.append(numpy_helper.from_array(values.astype(np.float16), tensor.name + "_16"))
        casts.append(helper.make_node("Cast", [tensor.name + "_16"], [tensor.name], to=TensorProto.FLOAT))
    nodes = casts + list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)


def export(checkpoint: Path, out: Path, date: str, pictures: str) -> None:
    """Write the embedded model; `date` (YYYY-MM-DD) and `pictures` (what it was trained on) go into its metadata."""
    import onnx

    network, content = load_average(checkpoint)
    buffer = io.BytesIO()
    size = {2: "height", 3: "width"}
    torch.onnx.export(
        Exported(network),
        (torch.rand(1, 3, 192, 256),),
        buffer,
        dynamo=False,
        opset_version=OPSET,
        input_names=["image"],
        output_names=list(OUTPUTS),
        dynamic_axes={"image": size, **{name: {1: "height", 2: "width"} for name in OUTPUTS[:3]}},
    )
    model = onnx.load_from_string(buffer.getvalue())
    narrow_weights(model)
    model.producer_name, model.producer_version, model.doc_string = "rilievo", "", ""
    encoder = content["config"]["network"]["encoder"]
    metadata = {
        "name": "rilievo depth small",
        "version": "1",
        "licence": "Apache-2.0",
        "trained": date,
        "description": (
            f"Relative inverse depth from one photo. EfficientNet-{encoder.capitalize()} encoder, fusion decoder; "
            f"{content['step']} steps, {content['pictures']} pictures seen, on a CPU."
        ),
        "input": "image: (1, 3, H, W) float32 RGB in 0..1, H and W multiples of 32, about 50 to 200 thousand pixels",
        "normalisation": "inside the graph: (RGB - 127/255) / (128/255)",
        "outputs": (
            "disparity (1, H, W): inverse depth up to scale and shift, >= 0, near is large; log_sigma (1, H, W): log "
            "of the Laplace scale of its error, in mean absolute deviations of the disparity from its median; "
            "sky (1, H, W): logit; log_focal (1,): log of focal length / longer side"
        ),
        "training_set": pictures,
        "pretrained": (
            f"encoder: ImageNet weights of EfficientNet-{encoder.capitalize()} (Google), PyTorch conversion "
            "Copyright (c) 2020 ML Illustrated, Apache-2.0"
        ),
    }
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    scratch = out.with_suffix(".new")
    scratch.write_bytes(model.SerializeToString(deterministic=True))
    scratch.replace(out)


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--date", required=True, help="day of training, YYYY-MM-DD")
    parser.add_argument(
        "--pictures",
        default=(
            "procedural scenes of rilievo's own generator (training/), rendered with exact depth; surfaces and things "
            "partly from free 3D models (sweethome3d-furniture, CC BY 3.0 and CC0) and free photographs (textures); "
            "no photo was a training picture"
        ),
        help="what it was trained on",
    )
    asked = parser.parse_args()
    export(asked.checkpoint, asked.out, asked.date, asked.pictures)
    print(f"{asked.out}: {asked.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
