"""Networks in ONNX files: opened once, checked, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rilievo.errors import InputError, MissingError

Engine = Literal["auto", "cpu", "gpu"]

_GPU = ("CUDAExecutionProvider", "DmlExecutionProvider", "CoreMLExecutionProvider")


@dataclass(frozen=True, eq=False)
class Network:
    """A network that is ready to run.

    inputs, outputs: name -> shape, with a free dimension as its name or None.
    engine: the onnxruntime provider at work.
    """

    inputs: dict[str, tuple[int | str | None, ...]]
    outputs: dict[str, tuple[int | str | None, ...]]
    engine: str
    session: Any

    def run(self, outputs: Sequence[str], arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The named outputs. Raises InputError when the network cannot take these arrays."""
        try:
            return list(self.session.run(list(outputs), dict(arrays)))
        except Exception as error:  # onnxruntime's own exceptions have no common base that it exports
            shapes = ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in arrays.items())
            raise InputError("the network failed on this photo", f"with {shapes}: {str(error)[:300]}") from error


def gpu_providers() -> tuple[str, ...]:
    """The accelerators that this onnxruntime can use."""
    import onnxruntime as ort

    return tuple(p for p in _GPU if p in ort.get_available_providers())


def open_network(model: Path | bytes, *, engine: Engine = "auto", threads: int = 0) -> Network:
    """Opens an ONNX file (or its bytes) with `threads` threads (0: one a core).

    engine: cpu; gpu (CUDA, DirectML or CoreML, MissingError when onnxruntime has none); auto takes one where there is
    one. Raises InputError when the file is not an ONNX model that onnxruntime can run.
    """
    import onnxruntime as ort

    found = gpu_providers() if engine != "cpu" else ()
    if engine == "gpu" and not found:
        raise MissingError(
            "no GPU can be used",
            f"this onnxruntime has only {', '.join(ort.get_available_providers())}",
            "Install onnxruntime-gpu (CUDA), onnxruntime-directml (Windows) or use --engine cpu.",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the cores alone
    name = model.name if isinstance(model, Path) else "the model"
    source = str(model) if isinstance(model, Path) else model
    try:
        session = ort.InferenceSession(source, options, providers=[*found, "CPUExecutionProvider"])
    except Exception as error:
        raise InputError(
            f"{name} cannot be opened as a network",
            " ".join(str(error).split())[:300],
            "The file is damaged or not an ONNX model: delete it and get it again (rilievo weights get NAME).",
        ) from error
    return Network(
        {v.name: tuple(v.shape) for v in session.get_inputs()},
        {v.name: tuple(v.shape) for v in session.get_outputs()},
        session.get_providers()[0],
        session,
    )
