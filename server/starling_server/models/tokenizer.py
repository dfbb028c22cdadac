"""Text to token ids: a tokenizer read from `tokenizer.json` alone, and a cache that re-encodes only changed lines.

Byte-level BPE splits text into pieces before it merges anything. StarCoder's pieces never span a visible character and
the newline behind it; Qwen's and Llama 3's never span the last newline of some white space and what follows it. So the
ids of a text are the ids of its lines, cut at one place or the other, and the ids of recent lines are cached.
"""

import json
import re
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

from tokenizers import Tokenizer

from starling_server import untrusted
from starling_server.errors import BaseModelError
from starling_server.models.bases import TOKENIZER_BYTES, Base
from starling_server.models.families import table as families
from starling_server.owners import outgoing
from starling_server.untrusted import shown

LONGEST = 400
"""Maximum length of a cached line."""
MOST_BYTES = 10 << 20
"""Memory of all cached lines; documents of 2,000 lines take a quarter of a MB."""
LINE_BYTES, GENERATION_BYTES = 128, 1024
"""Overhead of a dictionary entry, and of an empty generation in all lists."""
_CUTS = (re.compile(r"(?<=\S)(?=\n)"), re.compile(r"(?<=\n)(?=[^\S\r\n]*(?:\S|\Z))"))
"""Where lines are cut: before a newline that follows a visible character, or behind the last newline of white space."""
_PROBE = (
    "def f(a):\n    x = 'caf\u00e9 \U0001f600'  \n\n\tif x:\r\n\t\treturn 10_000\n\n\n  # end <fim_middle>\n}\n \nlast"
    "(\n  a,\n\n    b);\n\n \n\n\t]}\r\n\r\n  it's\u2028\n\x0c\nx \r\n \r\n 'y'\n\n"
)
"""Text that shows which cut changes no ids."""
_PARTS = ("x", " x\n  x ")
"""Parts of a text, which their ids must restore together."""
DROPPED = ("NFC",)
"""Normalisers that are not applied: a suggestion continues the document's own characters."""
Encode = Callable[[str], Sequence[int]]
Ids = Sequence[int]


@dataclass(slots=True, eq=False)
class Generation:
    """Lines of one client that were used at about the same time."""

    client: str
    lines: dict[str, Ids] = field(default_factory=dict[str, Ids])
    nbytes: int = 0
    used: float = field(default_factory=monotonic)


class Lines:
    """A cache of the ids of lines, at most `most_bytes` in memory. Thread-safe.

    A client has two generations. Lines that are used go into the young one. Once that takes half of the memory it
    becomes the old one, and the lines of the former old one are evicted. This is close to evicting the least recently
    used, at the cost of a dictionary look-up.
    """

    def __init__(self, encode: Encode, most_bytes: int = MOST_BYTES, cut: re.Pattern[str] = _CUTS[0]) -> None:
        self._encode, self._most, self._cut = encode, most_bytes, cut
        self._young, self._old = dict[str, Generation](), dict[str, Generation]()
        self._kept = list[Generation]()
        """All generations, least recently used first."""
        self.nbytes = 0
        """Memory of all generations."""
        self._lock = Lock()

    def encode(self, text: str, client: str = "") -> list[int]:
        """Ids of `text`, line by line."""
        known, ids = self._recent(client), list[int]()
        for piece in self._cut.split(text):
            its = known.get(piece)
            if its is None:
                its = self._learn(client, piece) if len(piece) <= LONGEST else self._encode(piece)
            ids += its
        return ids

    def _recent(self, client: str) -> dict[str, Ids]:
        """The young lines of `client`, whose generations both count as used now."""
        with self._lock:
            young = self._begun(client)
            for generation in filter(None, (self._old.get(client), young)):
                self._kept.remove(generation)
                self._kept.append(generation)
                generation.used = monotonic()
            return young.lines

    def _learn(self, client: str, line: str) -> Ids:
        """Ids of `line`, which is added to the young generation."""
        with self._lock:
            young, old = self._begun(client), self._old.get(client)
            ids = young.lines.get(line) or (old and old.lines.get(line)) or array("i", self._encode(line))
            if line not in young.lines:
                young.lines[line] = ids
                self._grow(young, sys.getsizeof(line) + sys.getsizeof(ids) + LINE_BYTES)
            return ids

    def _begun(self, client: str) -> Generation:
        """The young generation of `client`; a new one where there is none, or where it takes half of the memory."""
        young = self._young.get(client)
        if young is not None and young.nbytes <= self._most // 2:
            return young
        if client in self._old:
            self._drop(self._old[client])
        if young is not None:
            self._old[client] = young
        young = self._young[client] = Generation(client)
        self._kept.append(young)
        self._grow(young, GENERATION_BYTES + sys.getsizeof(client))
        return young

    def _grow(self, generation: Generation, nbytes: int) -> None:
        generation.nbytes += nbytes
        self.nbytes += nbytes
        while self.nbytes > self._most and len(self._kept) > 1:
            clients = [kept.client for kept in self._kept]
            sizes = [kept.nbytes for kept in self._kept]
            self._drop(self._kept[outgoing(clients, sizes, monotonic() - self._kept[0].used)])

    def _drop(self, generation: Generation) -> None:
        self._kept.remove(generation)
        self.nbytes -= generation.nbytes
        for generations in (self._young, self._old):
            if generations.get(generation.client) is generation:
                del generations[generation.client]
        generation.lines.clear()


def keep_no_words(model: Any) -> None:
    """Turn off the word cache of a model of the package `tokenizers`, where it has one.

    BPE keeps the first 10,000 words of all clients for ever: more than 80 MB for long words, and response times tell
    one client which words another has sent. Without the cache a new line takes a quarter longer.
    """
    resize = getattr(model, "_resize_cache", None)
    if resize is not None:
        resize(0)


def by_lines(encode: Encode) -> Callable[[str, str], list[int]]:
    """`encode` with a cache of each client's lines, or without one where a text's ids are not those of its lines."""

    def whole(text: str, _: str = "") -> list[int]:
        return list(encode(text))

    ids = whole(_PROBE)
    cut = next((cut for cut in _CUTS if Lines(encode, cut=cut).encode(_PROBE) == ids), None)
    return whole if cut is None else Lines(encode, cut=cut).encode


class FileTokenizer:
    """A `tokenizer.json` as `fim.Vocabulary`: text is plain text, even if it spells a special token."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokenizer = _read(path)
        self._tokenizer.encode_special_tokens = True  # sentinels spelled out in a text are text
        self._encode = by_lines(self._encode_whole)

    @cached_property
    def _marked(self) -> Tokenizer:
        """A second instance: whether sentinels are read is state of the tokenizer, and threads share instances."""
        return _read(self._path)

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str, client: str = "") -> list[int]:
        """Ids of `text`, nothing added; `"<fim_middle>"` becomes ordinary tokens. Lone surrogates become '?'."""
        return self._encode(text.encode("utf-8", "replace").decode("utf-8"), client)

    def _encode_whole(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_marked(self, text: str) -> list[int]:
        """Ids of `text`, nothing added; `"<fim_middle>"` becomes the sentinel. Lone surrogates become '?'."""
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return self._marked.encode(clean, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, bytes that form no character as U+FFFD."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def piece(self, token: int) -> str:
        """A token as the vocabulary spells it."""
        return self._tokenizer.id_to_token(token) or ""

    def special_id(self, token: str) -> int | None:
        """Id of a special token by literal name; None where it is missing."""
        return self._tokenizer.token_to_id(token)


def _read(path: Path) -> Tokenizer:
    """A tokenizer that restores the blanks of a text; raises BaseModelError where there is none to be had."""
    tokenizer = Tokenizer.from_file(str(path))
    if not _restores(tokenizer):
        tokenizer = Tokenizer.from_str(_without_added_blank(path))
    if not _restores(tokenizer):
        raise BaseModelError(
            f"The tokenizer in {path.parent} does not restore the blanks of a text, so suggestions would not fit the "
            "document: choose a base with a byte-level tokenizer, such as bigcode/starcoder2-3b."
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    keep_no_words(tokenizer.model)
    if type(tokenizer.normalizer).__name__ in DROPPED:
        tokenizer.normalizer = None  # pyright: ignore[reportAttributeAccessIssue]
    added = tokenizer.get_added_tokens_decoder().values()  # Qwen's and DeepSeek's are not marked as special
    tokenizer.add_special_tokens([token for token in added if token.content in families.SPECIAL])
    return tokenizer


def _restores(tokenizer: Tokenizer) -> bool:
    ids = [number for part in _PARTS for number in tokenizer.encode(part, add_special_tokens=False).ids]
    return tokenizer.decode(ids, skip_special_tokens=False) == "".join(_PARTS)


def _without_added_blank(path: Path) -> str:
    """The file without what SentencePiece does to a whole text: a blank put before it, and removed when it is decoded.

    A suggestion and the text around it are encoded and decoded in parts, which begin within the document.
    """
    content = untrusted.parsed(untrusted.read(path, TOKENIZER_BYTES))
    return json.dumps(
        content | {name: _plain(content.get(name)) for name in ("normalizer", "pre_tokenizer", "decoder")}
    )


def _plain(part: Any) -> Any:
    """A part of a tokenizer.json without the steps of `_without_added_blank`."""
    if not isinstance(part, dict) or part.get("type") in ("Prepend", "Strip"):  # pyright: ignore[reportUnknownMemberType]
        return None
    steps = {
        name: [step for step in map(_plain, part[name]) if step is not None]
        for name in ("normalizers", "pretokenizers", "decoders")
        if name in part
    }
    return part | steps | ({"prepend_scheme": "never"} if "prepend_scheme" in part else {})


def load_tokenizer(base: Base) -> FileTokenizer:
    """The base's tokenizer; raises BaseModelError where its file is damaged."""
    try:
        return FileTokenizer(base.path / "tokenizer.json")
    except BaseModelError:
        raise
    except Exception as error:  # tokenizers raises bare Exceptions
        raise BaseModelError(
            f"The tokenizer of base {base.id!r} cannot be read ({shown(error)}): download the base again."
        ) from error
