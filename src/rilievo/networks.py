"""Networks in ONNX files: opened once, checked, run by onnxruntime.

On a CPU one pass runs on one thread, and several passes (a photo and its mirror image, its tiles) run side by side:
onnxruntime cuts its sums by the number of threads, and with three threads the bytes of an answer were other ones than
with two.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    engine: the onnxruntime provider at work.  threads: passes that run side by side.
    """

    inputs: dict[str, tuple[int | str | None, ...]]
    outputs: dict[str, tuple[int | str | None, ...]]
    engine: str
    threads: int
    session: Any

    def run_all(self, outputs: Sequence[str], passes: Sequence[Mapping[str, np.ndarray]]) -> list[list[np.ndarray]]:
        """`run` for each of several passes."""
        if self.threads == 1 or len(passes) < 2:
            return [self.run(outputs, arrays) for arrays in passes]
        with ThreadPoolExecutor(min(self.threads, len(passes))) as pool:
            return list(pool.map(lambda arrays: self.run(outputs, arrays), passes))

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
    """Opens an ONNX file (or its bytes), to be run on up to `threads` threads (0: one a core).

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
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
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
    engine_found = session.get_providers()[0]
    if engine_found != "CPUExecutionProvider":
        threads = 1  # a GPU takes one pass after the other
    return Network(
        {v.name: tuple(v.shape) for v in session.get_inputs()},
        {v.name: tuple(v.shape) for v in session.get_outputs()},
        engine_found,
        threads or os.cpu_count() or 1,
        session,
    )
