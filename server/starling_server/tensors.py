"""Tensors in safetensors files as numpy arrays: listed from the files' headers, read one at a time, without torch.

A file is eight bytes (length of the header, little-endian), the header (JSON: each tensor's type, shape and place), the
tensors' bytes (https://huggingface.co/docs/safetensors). numpy has no bfloat16; its upper half of a float32 is read as
bits and shifted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starling_server import json_file

Floats = NDArray[np.float32]
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MOST_HEADER = 100_000_000
"""Bytes, as the format's own reader has it."""
_STORED = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor on disk."""

    file: Path
    dtype: str
    """As the header has it, `BF16` for example."""
    shape: tuple[int, ...]
    offset: int
    """Its first byte in the file."""

    def read(self) -> Floats:
        """Its values as float32, which holds 16-bit floats exactly; raises ValueError for what is no float."""
        if self.dtype not in _STORED:
            raise ValueError(f"a tensor of {self.dtype} is no float")
        kind = _STORED[self.dtype]
        flat = np.fromfile(self.file, kind, prod(self.shape), offset=self.offset)
        if self.dtype == "BF16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        return flat.astype(np.float32, copy=False).reshape(self.shape)


def weights_of(folder: Path) -> list[Path]:
    """The files that hold a model's weights, as transformers chooses them: the whole one, else the index's shards."""
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if (folder / INDEX).is_file():
        names = json_file.read(folder / INDEX)["weight_map"].values()
        return [folder / name for name in sorted(set(names))]
    return sorted(folder.glob("*.safetensors"))


def listed(files: Iterable[Path]) -> dict[str, Stored]:
    """Every tensor of `files` by name; raises ValueError for a damaged file, OSError for a missing one."""
    return {name: tensor for file in files for name, tensor in _listed(file)}


def _listed(file: Path) -> Iterator[tuple[str, Stored]]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        size = file.stat().st_size
        if not 0 < length <= min(size - 8, MOST_HEADER):
            raise ValueError(f"{file.name} is no whole safetensors file")
        header = json_file.parse(stream.read(length))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        (start, end), shape, dtype = entry["data_offsets"], tuple(entry["shape"]), entry["dtype"]
        if not all(isinstance(number, int) and number >= 0 for number in (start, end, *shape)):
            raise ValueError(f"{file.name} has no sane place for tensor {name}")
        if 8 + length + end > size:
            raise ValueError(f"{file.name} ends before tensor {name} does")
        if dtype in _STORED and end - start != prod(shape) * _STORED[dtype].itemsize:
            raise ValueError(f"{file.name} has not as much as tensor {name} takes")
        yield name, Stored(file, dtype, shape, 8 + length + start)
