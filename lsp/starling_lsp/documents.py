"""The server's copy of open documents, and what lies around a position in them.

pygls splits lines as Python does, at form feeds and U+2028 too; editors count only CRLF, LF and CR, so line numbers
would drift and incremental edits would land in the wrong place. Positions past a line's or the document's end count
as that end, as the protocol says.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lsprotocol import types
from pygls.workspace import PositionCodec, TextDocument, Workspace

from starling_server.window import clip

MAX_CHARS = 2_000_000
"""Larger documents are data, not code; nothing is suggested in them."""
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The text around a position."""

    prefix: str
    suffix: str

    @property
    def line(self) -> str:
        """The cursor's line left of it."""
        return _LINE_END.split(self.prefix)[-1] if self.prefix else ""

    @property
    def rest(self) -> str:
        """The cursor's line right of it."""
        return _LINE_END.split(self.suffix, maxsplit=1)[0]


class Document(TextDocument):
    """One open document."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._starts: tuple[str, list[int]] = ("", [0])

    @property
    def text(self) -> str:
        """The whole text."""
        return self._source or ""

    @property
    def lines(self) -> Sequence[str]:
        """Lines with their ends; the last one is what follows the last end, maybe nothing."""
        starts = self._line_starts()
        return tuple(self.text[a:b] for a, b in zip(starts, [*starts[1:], len(self.text)], strict=True))

    def offset(self, position: types.Position) -> int:
        """Index into `text` of a position in client units."""
        starts = self._line_starts()
        if position.line >= len(starts):
            return len(self.text)
        start = starts[position.line]
        end = starts[position.line + 1] if position.line + 1 < len(starts) else len(self.text)
        line = self.text[start:end].rstrip("\r\n")
        return start + column(self.position_codec, line, position.character)

    def position(self, offset: int) -> types.Position:
        """The position in client units of an index into `text`."""
        starts = self._line_starts()
        line = bisect_right(starts, offset) - 1
        units = self.position_codec.client_num_units(self.text[starts[line] : offset])
        return types.Position(line, units)

    def cursor(self, position: types.Position) -> Cursor:
        """Text before and after a position, of a large document the part that matters."""
        at = self.offset(position)
        return Cursor(*clip(self.text[:at], self.text[at:]))

    @property
    def is_code(self) -> bool:
        """Whether it is text of a size that code has."""
        return len(self.text) <= MAX_CHARS and "\0" not in self.text

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        start, end = self.offset(change.range.start), self.offset(change.range.end)
        self._source = self.text[:start] + change.text + self.text[end:]

    def _line_starts(self) -> list[int]:
        """Index of every line's first character; computed once per version of the text."""
        text = self.text
        if self._starts[0] is not text:
            self._starts = (text, [0, *(match.end() for match in _LINE_END.finditer(text))])
        return self._starts[1]


class Documents(Workspace):
    """pygls' workspace over our documents."""

    def _create_text_document(
        self, doc_uri: str, source: str | None = None, version: int | None = None, language_id: str | None = None
    ) -> Document:
        return Document(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=self._sync_kind,
            position_codec=self._position_codec,
        )

    def find(self, uri: str) -> Document | None:
        """The open document at `uri`; None for one that is not open."""
        document = self.text_documents.get(uri)
        return document if isinstance(document, Document) else None


def column(codec: PositionCodec, line: str, units: int) -> int:
    """Characters of `line` (without its end) in `units` client units; past its end is its end."""
    if units >= codec.client_num_units(line):
        return len(line)
    return codec.position_from_client_units([line], types.Position(0, units)).character
