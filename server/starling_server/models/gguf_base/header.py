"""The header of a GGUF file, or of all parts of a split one: fields and the table of tensors.

The package gguf reads the same, in tens of seconds for a vocabulary of 150,000 tokens, and trusts the file's numbers;
this reader takes a second and holds every number against the file's size.
"""

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from starling_server import untrusted
from starling_server.errors import BaseModelError
from starling_server.untrusted import Unfit, refusal, shown

MAGIC, VERSIONS = b"GGUF", (2, 3)
SUFFIX = ".gguf"
MOST_FIELDS, MOST_TENSORS, MOST_ITEMS, MOST_TEXT, MOST_DIMENSIONS = 1 << 14, 1 << 18, 1 << 22, 1 << 24, 4
MOST_BYTES = 1 << 27
"""Of a header. A vocabulary of 300,000 tokens takes 20 MB; lists as Python objects take eight times their bytes."""
ALIGNMENT = 32
"""Of tensors in the file, where no field says otherwise."""
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
AGAIN = "download it again"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the table."""

    file: Path
    shape: tuple[int, ...]
    """Outermost first, as numpy has it; the file has the opposite order."""
    kind: int
    """ggml's number of the type."""
    start: int
    """Offset of its first byte in the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """All that a base's files say before their weights."""

    files: tuple[Path, ...]
    """In the order of the parts; one file where the base is not split."""
    fields: Mapping[str, Any]
    """Of the first part: numbers, texts and lists of these, by key."""
    tensors: Mapping[str, Tensor]

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture; empty where the file has none."""
        return str(self.fields.get("general.architecture", ""))

    def of(self, key: str) -> Any:
        """A field of the architecture's own, such as `block_count`; None where it is missing."""
        return self.fields.get(f"{self.architecture}.{key}")


def is_gguf(path: Path) -> bool:
    """Whether this is a file that is named as GGUF or begins like it; Ollama's files have no suffix."""
    try:
        if not path.is_file():
            return False
        if path.suffix == SUFFIX:
            return True
        with untrusted.opened(path) as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except (OSError, Unfit):
        return False


def is_part(path: Path) -> bool:
    """Whether the name is that of a part of a split file."""
    return _PART.fullmatch(path.name) is not None


def is_later_part(path: Path) -> bool:
    """Whether this is a part of a split file, and not the first."""
    match = _PART.fullmatch(path.name)
    return match is not None and int(match["number"]) != 1


def read(path: Path) -> Header:
    """The header of the base in `path`, whose other parts lie beside it; raises BaseModelError."""
    files = _parts(path)
    fields, tensors = dict[str, Any](), dict[str, Tensor]()
    for number, file in enumerate(files):
        try:
            own, table = _read(file)
        except (OSError, Unfit) as error:
            raise BaseModelError(refusal(file, error, AGAIN)) from error
        fields = fields if number else own
        tensors |= table
    count = fields.get("split.count", 1)
    if isinstance(count, int) and count > 1 and count != len(files):
        raise BaseModelError(
            f"{shown(path)} is one of {count} parts: name the first of them as llama.cpp does, "
            f"NAME-00001-of-{count:05}.gguf, with the others beside it."
        )
    return Header(files, fields, tensors)


def _parts(path: Path) -> tuple[Path, ...]:
    """The files of a base; raises BaseModelError where a part is missing."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return (path,)
    count = int(match["count"])
    files = tuple(path.with_name(f"{match['stem']}-{n:05}-of-{count:05}.gguf") for n in range(1, min(count, 999) + 1))
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BaseModelError(
            f"{shown(path)} is one of {count} parts, and {shown(missing[0]) if missing else 'the first'}{rest} is not "
            "beside it: download that too."
        )
    return files


class _Cursor:
    """A place in a file's bytes, which moves on as values are read; raises Unfit at the file's end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self.at, self.size = data, 0, len(data)
        self._end = min(self.size, MOST_BYTES)

    def _over(self) -> Unfit:
        """The error for a header that does not end in time."""
        if self.size > MOST_BYTES:
            return Unfit(f"has a damaged header (more than {MOST_BYTES >> 20} MiB)")
        return Unfit("is cut off in its header")

    def bytes(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > self._end - self.at:
            raise self._over()
        self.at += count
        return self._data[self.at - count : self.at]

    def number(self, kind: str) -> Any:
        """One number of `struct`'s type."""
        return struct.unpack(f"<{kind}", self.bytes(struct.calcsize(f"<{kind}")))[0]

    def count(self, most: int, what: str) -> int:
        """A number of things, of which there may be `most`."""
        found: int = self.number("Q")
        if found > most:
            raise Unfit(f"has a damaged header ({found:,} {what})")
        return found

    def text(self) -> str:
        """A length and so many bytes."""
        return self.bytes(self.count(MOST_TEXT, "bytes of text")).decode("utf-8", "replace")

    def _texts(self, count: int) -> list[str]:
        """So many texts, in a loop of its own: a vocabulary has 300,000."""
        data, at, most, found, length_of = self._data, self.at, self._end, list[str](), struct.Struct("<Q").unpack_from
        for _ in range(count):
            begin = at + 8
            end = begin + length_of(data, at)[0] if begin <= most else most + 1
            if end > most:
                raise self._over()
            found.append(data[begin:end].decode("utf-8", "replace"))
            at = end
        self.at = at
        return found

    def value(self, kind: int) -> Any:
        """A field of ggml's type `kind`; lists hold no lists."""
        if kind == _TEXT:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.number("I"), self.count(MOST_ITEMS, "items of a list")
            if inner == _TEXT:
                return self._texts(count)
            code = _code(inner)
            return list(struct.unpack(f"<{count}{code}", self.bytes(count * struct.calcsize(f"<{code}"))))
        return self.number(_code(kind))


def _code(kind: int) -> str:
    if kind not in _NUMBERS:
        raise Unfit(f"has a damaged header (a value of type {kind})")
    return _NUMBERS[kind]


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Fields and tensors of one file; raises OSError, Unfit."""
    with untrusted.opened(file) as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise Unfit("is no GGUF file, whatever its name says")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parsed(file, _Cursor(data))


def _parsed(file: Path, cursor: _Cursor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    cursor.bytes(len(MAGIC))
    version: int = cursor.number("I")
    if version not in VERSIONS:
        raise Unfit(f"is of GGUF version {version}, and 2 and 3 can be read")
    count, fields = cursor.count(MOST_TENSORS, "tensors"), dict[str, Any]()
    for _ in range(cursor.count(MOST_FIELDS, "fields")):
        key, kind = cursor.text(), cursor.number("I")
        fields[key] = cursor.value(kind)
    table = [_entry(cursor) for _ in range(count)]
    alignment = fields.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= 1 << 16:
        raise Unfit(f"has a damaged header (alignment {shown(alignment)})")
    begin = -(-cursor.at // alignment) * alignment
    tensors = {name: Tensor(file, shape, kind, begin + offset) for name, shape, kind, offset in table}
    _check_size(tensors, cursor.size)
    return fields, tensors


def _entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, type and offset of a tensor."""
    name, dimensions = cursor.text(), cursor.number("I")
    if not 0 < dimensions <= MOST_DIMENSIONS:
        raise Unfit(f"has a damaged header (tensor {shown(name)} has {dimensions} dimensions)")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    return name, shape[::-1], cursor.number("I"), cursor.number("Q")


def _check_size(tensors: Mapping[str, Tensor], size: int) -> None:
    """Raise Unfit where the file ends before its last tensor."""
    end = max((tensor.start + nbytes(tensor) for tensor in tensors.values()), default=0)
    if end > size:
        raise Unfit(f"is cut off: it has {size:,} bytes, and its header tells of {end:,}")


def nbytes(tensor: Tensor) -> int:
    """Bytes of a tensor in its file; 1 where this version of gguf does not know its type."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
    except (ValueError, KeyError):
        return 1
    return prod(tensor.shape) // block * size
