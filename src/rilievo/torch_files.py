"""Tensors of torch state files, without torch and without running their pickles.

Two layouts: a zip (torch 1.6 and later: data.pkl and one member a storage), and the run of pickles before it (magic
number, version, platform, the state, the storages' keys, then each storage's length and bytes).
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from rilievo.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {"FloatStorage": np.float32, "LongStorage": np.int64, "HalfStorage": np.float16, "IntStorage": np.int32}


class _TensorsOnly(pickle.Unpickler):
    """Reads the pickle of a torch file and nothing else: no name outside these few is ever looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")

    def persistent_load(self, pid: Any) -> Any:
        return pid[1], pid[2]  # kind of storage, its key


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a torch state file by name. Raises InputError when the file holds anything but tensors."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                index = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                entries = _TensorsOnly(archive.open(index)).load()
                root = index.removesuffix("data.pkl")
                return _tensors(entries, lambda key: archive.read(f"{root}data/{key}"))
        with path.open("rb") as file:
            if _TensorsOnly(file).load() != _MAGIC:
                raise ValueError("it is neither layout of torch")
            _TensorsOnly(file).load()  # version of the layout
            _TensorsOnly(file).load()  # byte order and sizes of the machine that wrote it
            entries = _TensorsOnly(file).load()
            storages = _storages(file, entries, _TensorsOnly(file).load())
            return _tensors(entries, lambda key: storages[key])
    except (pickle.UnpicklingError, zipfile.BadZipFile, StopIteration, EOFError) as e:
        raise InputError(f"{path.name} is not a file of weights", str(e)[:200]) from e
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, MemoryError) as e:
        raise InputError(f"{path.name} is not a file of weights", str(e)[:200]) from e


def _storages(file: IO[bytes], entries: dict[str, Any], keys: list[str]) -> dict[str, bytes]:
    kinds = {key: np.dtype(_STORAGES[kind]) for (kind, key), *_ in entries.values()}
    storages = {}
    for key in keys:
        size = int.from_bytes(file.read(8), "little") * kinds[key].itemsize
        at = file.tell()
        left = file.seek(0, 2) - at
        file.seek(at)
        if size > left:
            raise ValueError("the file is cut short")
        storages[key] = file.read(size)
    return storages


def _tensors(entries: dict[str, Any], storage: Any) -> dict[str, np.ndarray]:
    tensors = {}
    for name, ((kind, key), offset, size, stride) in entries.items():
        flat = np.frombuffer(storage(key), _STORAGES[kind])
        last = offset + sum((n - 1) * s for n, s in zip(size, stride))
        if min(size, default=1) < 1 or min((*stride, offset)) < 0 or last >= len(flat):
            raise ValueError(f"{name} lies outside its storage")
        steps = [s * flat.itemsize for s in stride]
        tensors[str(name)] = np.lib.stride_tricks.as_strided(flat[offset:], size, steps).copy()
    return tensors
