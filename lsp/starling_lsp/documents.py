"""The server's copy of open documents, and the text around a position in them.

pygls splits lines as Python does, including at form feeds and U+2028. Editors count only CRLF, LF and CR, so line
numbers would drift and incremental edits would be applied in the wrong place. Positions past the end of a line or of
the document are clamped to that end, as the protocol specifies.
"""

import logging
import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lsprotocol import types
from pygls.uris import to_fs_path, uri_scheme, urlparse
from pygls.workspace import PositionCodec, TextDocument, Workspace

from starling_server.prompt.window import clip

log = logging.getLogger(__name__)
MAX_CHARS = 2_000_000
"""Larger documents are treated as data and get no suggestions."""
_LINE_END = re.compile(r"\r\n|\n|\r")
_FEED = re.compile(r"\n")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The text around a position."""

    prefix: str
    suffix: str

    @property
    def line(self) -> str:
        """The part of the line before the cursor."""
        start = max(self.prefix.rfind("\n"), self.prefix.rfind("\r")) + 1
        return self.prefix[start:]

    @property
    def rest(self) -> str:
        """The part of the line after the cursor."""
        end = _LINE_END.search(self.suffix)
        return self.suffix[: end.start()] if end else self.suffix


class Document(TextDocument):
    """One open document, stored as lines so that the cost of an edit depends only on the lines it changes."""

    def __init__(self, uri: str, *args: Any, only_feeds: bool = False, **kwargs: Any) -> None:
        super().__init__("", *args, **kwargs)
        self.uri, self.path = uri, path_of(uri)
        self.only_feeds = only_feeds
        """Whether CR is an ordinary character, as in Neovim for files with mixed line ends."""
        self.in_step = True
        """Whether the text is the editor's; false from an edit that could not be read until the next whole text."""
        self._load(self._source or "")

    def _load(self, text: str) -> None:
        only_feeds = self.only_feeds and ("\n" in text or "\r" not in text)
        self._line_end = _FEED if only_feeds else _LINE_END
        self._lines = split_lines(text, self._line_end)
        self._text: str | None = text
        self._size, self._has_nul = len(text), "\0" in text

    @property
    def text(self) -> str:
        """The whole text."""
        if self._text is None:
            self._text = "".join(self._lines)
        return self._text

    @property
    def source(self) -> str:
        """The same as `text`, under pygls' name."""
        return self.text

    @property
    def lines(self) -> Sequence[str]:
        """Lines with their ends; the last line has no end and may be empty."""
        return tuple(self._lines)

    def offset(self, position: types.Position) -> int:
        """Convert a position in client units to an index into `text`."""
        line, at = self._at(position)
        return sum(map(len, self._lines[:line])) + at

    def position(self, offset: int) -> types.Position:
        """Convert an index into `text` to a position in client units."""
        starts = list(accumulate(map(len, self._lines), initial=0))[:-1]
        line = bisect_right(starts, offset) - 1
        return types.Position(line, self.position_codec.client_num_units(self._lines[line][: offset - starts[line]]))

    def cursor(self, position: types.Position) -> Cursor:
        """Text before and after a position, clipped in a large document."""
        at, text = self.offset(position), self.text
        return Cursor(*clip(text[:at], text[at:]))

    def clamp(self, position: types.Position) -> types.Position:
        """The position clamped to the end of its line and of the document."""
        line, at = self._at(position)
        before = self._lines[line][:at]
        return types.Position(line, at if before.isascii() else self.position_codec.client_num_units(before))

    def line_at(self, position: types.Position) -> str:
        """The line at a position, with its line end."""
        return self._lines[self._at(position)[0]]

    @property
    def is_code(self) -> bool:
        """Whether the document is text of at most `MAX_CHARS`; an inserted NUL counts until a full-text change."""
        return self._size <= MAX_CHARS and not self._has_nul

    def _at(self, position: types.Position) -> tuple[int, int]:
        """Line number and character index in the line; the document's end for any line past it."""
        if position.line >= len(self._lines):
            return len(self._lines) - 1, len(self._lines[-1])
        line = self._line_end.sub("", self._lines[position.line])
        return position.line, column(self.position_codec, line, position.character)

    def _apply_full_change(self, change: types.TextDocumentContentChangeEvent) -> None:
        self._load(change.text)
        self.in_step = True

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        """Split the edited lines again, together with a preceding CR, which an inserted LF may complete.

        A range that ends before it starts is turned round, as editors do.
        """
        if not self.in_step:
            return
        (first, start), (last, end) = sorted((self._at(change.range.start), self._at(change.range.end)))
        chunk = self._lines[first][:start] + change.text + self._lines[last][end:]
        if first and self._lines[first - 1].endswith("\r"):
            first -= 1
            chunk = self._lines[first] + chunk
        is_last = last == len(self._lines) - 1
        lines = split_lines(chunk, self._line_end)
        old = self._lines[first : last + 1]
        self._lines[first : last + 1] = lines if is_last else lines[:-1]
        self._text = None
        self._size += len(chunk) - sum(map(len, old))
        self._has_nul |= "\0" in change.text


def split_lines(text: str, line_end: re.Pattern[str]) -> list[str]:
    """Lines with their ends; the last has none and may be empty."""
    starts = [0, *(match.end() for match in line_end.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(starts)]


class Documents(Workspace):
    """pygls' workspace with our `Document`."""

    only_feeds = False
    """`Document.only_feeds` of new documents; true if the client is Neovim."""

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
            only_feeds=self.only_feeds,
        )

    def find(self, uri: str) -> Document | None:
        """The open document at `uri`; None if it is not open."""
        document = self.text_documents.get(unquote(uri))
        return document if isinstance(document, Document) else None

    def text_of(self, uri: str) -> str | None:
        """The text of the open document at `uri`; None if it is not open."""
        document = self.find(uri)
        return document.text if document and document.in_step else None

    def update_text_document(
        self, text_doc: types.VersionedTextDocumentIdentifier, change: types.TextDocumentContentChangeEvent
    ) -> None:
        """Apply an edit; an edit of a document that is not open is ignored."""
        if self.find(text_doc.uri) is None:
            log.warning("ignored an edit of a document that is not open")
            return
        super().update_text_document(text_doc, change)

    def update_notebook_document(self, params: types.DidChangeNotebookDocumentParams) -> None:
        """Apply a change of a notebook; where its order of cells is unknown, the cells are documents of their own."""
        if self.get_notebook_document(notebook_uri=params.notebook_document.uri):
            super().update_notebook_document(params)
            return
        cells = params.change.cells
        structure = cells.structure if cells else None
        for opened in (structure.did_open if structure else None) or []:
            self.put_text_document(opened)
        for closed in (structure.did_close if structure else None) or []:
            self.remove_text_document(closed.uri)
        for content in (cells.text_content if cells else None) or []:
            for change in content.changes:
                self.update_text_document(content.document, change)

    def lose(self, named: Collection[str] | None) -> bool:
        """Declare documents out of step: those at the URIs `named`, cells of notebooks there, or all; whether any is.

        A notebook of such a cell is forgotten, since the order of its cells may be another by now.
        """
        names = None if named is None else {unquote(uri) for uri in named}
        lost = [uri for uri in self._text_documents if names is None or {uri, self._cell_in_notebook.get(uri)} & names]
        for uri in lost:
            document = self.find(uri)
            if document is not None:
                document.in_step = False
        for notebook in {*(names or ()), *(self._cell_in_notebook.pop(uri, "") for uri in lost)}:
            self._notebook_documents.pop(notebook, None)
        return bool(lost)

    def surroundings(self, uri: str) -> tuple[str, str]:
        """Text of a notebook's code cells before and after the cell at `uri`; empty for other documents."""
        notebook = self.get_notebook_document(cell_uri=uri)
        if notebook is None:
            return "", ""
        cells = [cell.document for cell in notebook.cells if cell.kind == types.NotebookCellKind.Code]
        here = cells.index(uri) if uri in cells else len(cells)
        texts = [document.text if (document := self.find(cell)) else "" for cell in cells]
        return "".join(text + "\n\n" for text in texts[:here]), "".join("\n\n" + text for text in texts[here + 1 :])

    def around(self, uri: str) -> tuple[Path, ...]:
        """Folders of a document, innermost first: its own folder, and the workspace folders that it is in.

        The latter may differ from the folders above its own where links lead out of them. For a document without a
        path: the first workspace folder, if there is one.
        """
        path, folders = path_at(uri), self.roots()
        if path is None:
            return tuple(folders[:1])
        above = [folder for folder in folders if path.is_relative_to(folder)]
        return (path.parent, *sorted(above, key=lambda folder: len(folder.parts), reverse=True))

    def roots(self) -> list[Path]:
        """The local workspace folders, in the editor's order."""
        uris = [folder.uri for folder in self.folders.values()] or ([self.root_uri] if self.root_uri else [])
        return [path for uri in uris if (path := path_at(uri)) is not None]


def path_at(uri: str) -> Path | None:
    """The path of a `file:` URI; None for other schemes, and where there can be no such file."""
    try:
        path = to_fs_path(uri) if uri_scheme(uri) == "file" else None
    except ValueError:
        return None
    return Path(path) if path and "\0" not in path else None


def path_of(uri: str) -> str:
    """The path in a URI of any scheme; the URI itself if it is none."""
    try:
        return to_fs_path(uri) or urlparse(uri)[2]
    except ValueError:
        return uri


def column(codec: PositionCodec, line: str, units: int) -> int:
    """Number of characters in the first `units` client units of `line` (without line end), clamped to its length."""
    if line[:units].isascii():  # one unit each, in every encoding
        return min(units, len(line))
    if units >= codec.client_num_units(line):
        return len(line)
    return codec.position_from_client_units([line], types.Position(0, units)).character
