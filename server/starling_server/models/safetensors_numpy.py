"""Tensors in safetensors files as numpy arrays: listed from the files' headers, read one at a time, without torch.

A file has eight bytes (length of the header, little-endian), the header (JSON: type, shape and offsets of each tensor)
and the tensors' bytes without gaps (https://huggingface.co/docs/safetensors). numpy has no bfloat16: such numbers are
read as the upper 16 bits of a float32.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starling_server import untrusted
from starling_server.untrusted import Unfit, shown

Floats = NDArray[np.float32]
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEADER_BYTES, INDEX_BYTES = 4 << 20, 16 << 20
"""Maximum sizes. The header of 480 matrices has 70 KB; an index has about 100 bytes for each tensor."""
MOST_DIMENSIONS = 8
_SHARD = re.compile(r".+-\d{5}-of-\d{5}\.safetensors")
_STORED = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one number, by safetensors' name of the type."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor on disk."""

    file: Path
    dtype: str
    """The header's name of the type, `BF16` for example."""
    shape: tuple[int, ...]
    offset: int
    """Offset of its first byte in the file."""

    @property
    def is_float(self) -> bool:
        """Whether `read` supports the type."""
        return self.dtype in _STORED

    def read(self) -> Floats:
        """The values as float32, which represents 16-bit floats exactly; raises ValueError for other types."""
        if not self.is_float:
            raise ValueError(f"a tensor of {self.dtype} is no float")
        kind = _STORED[self.dtype]
        with untrusted.opened(self.file) as stream:
            stream.seek(self.offset)
            flat = np.fromfile(stream, kind, prod(self.shape))
        if self.dtype == "BF16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        return flat.astype(np.float32, copy=False).reshape(self.shape)


def weights_of(folder: Path) -> list[Path]:
    """The files that hold a model's weights, in the order in which transformers looks for them.

    `model.safetensors` is used alone, also beside shards. Without it the shards are those that the index names, also
    beside other files; without an index every safetensors file counts. The list is empty without any.
    Raises OSError, and Unfit for an index that is damaged or names files elsewhere.
    """
    if os.path.isfile(folder / WHOLE):
        return [folder / WHOLE]
    if os.path.isfile(folder / INDEX):
        return [folder / name for name in sorted(_shards(folder / INDEX))]
    files = sorted(file for file in folder.glob("*.safetensors") if os.path.isfile(file))
    if any(_SHARD.fullmatch(file.name) for file in files):
        others = f" (and {', '.join(rest)} beside them)" if (rest := _besides(files)) else ""
        raise Unfit(f"there are shards{others}, and no {INDEX} that says what is in them")
    return files


def check_one_form(folder: Path) -> None:
    """Raise Unfit where a whole file and shards beside it hold different tensors; OSError, Unfit as `weights_of`."""
    if os.path.isfile(folder / WHOLE) and os.path.isfile(folder / INDEX):
        shards = [folder / name for name in sorted(_shards(folder / INDEX))]
        here = [file for file in shards if os.path.isfile(file)]
        if here and {name: t.shape for name, t in listed([folder / WHOLE]).items()} != {
            name: t.shape for name, t in listed(here).items()
        }:
            raise Unfit(f"{WHOLE} and the shards beside it hold different tensors: one of the two is out of date")


def _besides(files: Iterable[Path]) -> list[str]:
    return [shown(file.name) for file in files if not _SHARD.fullmatch(file.name)]


def listed(files: Iterable[Path]) -> dict[str, Stored]:
    """All tensors of `files` by name; raises OSError, and Unfit for a damaged file."""
    return {name: tensor for file in files for name, tensor in _listed(file)}


def _shards(index: Path) -> set[str]:
    places = untrusted.parsed(untrusted.read(index, INDEX_BYTES)).get("weight_map")
    if not isinstance(places, dict):
        raise Unfit("has no weight_map")
    names: list[Any] = list(places.values())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise Unfit(f"names {shown(name)}, which is not a safetensors file in the same folder")
    return set(names)


def _listed(file: Path) -> Iterator[tuple[str, Stored]]:
    with untrusted.opened(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= size - 8:
            raise Unfit("is not a complete safetensors file")
        if length > HEADER_BYTES:
            raise Unfit(f"has a header of more than {HEADER_BYTES >> 20} MiB")
        header = _header(stream.read(length))
    entries = {name: _entry(name, entry) for name, entry in header.items() if name != "__metadata__"}
    at, data = 0, size - 8 - length
    for name, (dtype, shape, start, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != at:
            raise Unfit(f"has a damaged header (tensor {shown(name)} does not begin where the one before it ends)")
        at = end
        yield name, Stored(file, dtype, shape, 8 + length + start)
    if at != data:
        raise Unfit(f"has {data:,} bytes of tensors, and its header says {at:,}")


def _header(data: bytes) -> dict[str, Any]:
    try:
        return untrusted.parsed(data)
    except Unfit as error:
        raise Unfit(f"has a header that {error}") from error


def _entry(name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, offset of the first byte and of the one after the last."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [start, end]}:
            if dtype not in _BITS:
                raise Unfit(f"has a header with the unknown type {shown(dtype)}")
            numbers: list[Any] = [*shape, start, end]
            sane = len(shape) <= MOST_DIMENSIONS and all(type(n) is int and 0 <= n < 1 << 62 for n in numbers)
            if sane and _BITS[dtype] * prod(numbers[:-2]) == 8 * (numbers[-1] - numbers[-2]):
                return dtype, tuple(numbers[:-2]), numbers[-2], numbers[-1]
        case _:
            pass
    raise Unfit(f"has a damaged header (tensor {shown(name)})")
