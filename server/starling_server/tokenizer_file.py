"""A base's tokenizer from its file, without transformers, which imports torch where it finds it: 5 s on busy cores."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from starling_server.bases import Base
from starling_server.errors import BaseModelError
from starling_server.pieces import by_lines, keep_no_words


class FileTokenizer:
    """A `tokenizer.json` as `fim.Tokenizer`; the same ids as `loading.TextTokenizer`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokenizer = _read(path)
        self._tokenizer.encode_special_tokens = True  # a sentinel's spelling in a text is text
        self._encode = by_lines(self._encode_whole)

    @cached_property
    def _marked(self) -> Tokenizer:
        """One of its own, since whether sentinels are read is a tokenizer's state and threads share them."""
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

    def special_id(self, token: str) -> int | None:
        """Id of a special token by literal name; None where it is missing."""
        return self._tokenizer.token_to_id(token)


def _read(path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    keep_no_words(tokenizer.model)
    return tokenizer


def load_tokenizer(base: Base) -> FileTokenizer:
    """The base's tokenizer; raises BaseModelError where its file is damaged."""
    try:
        return FileTokenizer(base.path / "tokenizer.json")
    except Exception as error:  # tokenizers raises bare Exceptions
        raise BaseModelError(f"The tokenizer of base {base.id!r} cannot be read: download the base again.") from error
