"""Tensors in safetensors files as numpy arrays: listed from the files' headers, read one at a time, without torch.

A file is eight bytes (length of the header, little-endian), the header (JSON: each tensor's type, shape and place), the
tensors' bytes (https://huggingface.co/docs/safetensors). numpy has no bfloat16; its upper half of a float32 is read as
bits and shifted.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
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
        names = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(names))]
    return sorted(folder.glob("*.safetensors"))


def listed(files: Iterable[Path]) -> dict[str, Stored]:
    """Every tensor of `files` by name; raises ValueError for a damaged file, OSError for a missing one."""
    return {name: tensor for file in files for name, tensor in _listed(file)}


def _listed(file: Path) -> Iterator[tuple[str, Stored]]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        size = file.stat().st_size
        if not 0 < length <= size - 8:
            raise ValueError(f"{file.name} is no whole safetensors file")
        header = json.loads(stream.read(length))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        if 8 + length + end > size:
            raise ValueError(f"{file.name} ends before tensor {name} does")
        yield name, Stored(file, entry["dtype"], tuple(entry["shape"]), 8 + length + start)
