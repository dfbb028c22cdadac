"""Pieces of other files for a hole: the choice that the language server makes, over the files that are learnt.

A held-out file sees the files of training. No hole gets a piece of its own file, of another held-out file, or one that
gives its middle away.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from starling_server.context import leaks
from starling_server.context.choice import BOTH, Part, Piece, Place, choose
from starling_server.context.index import Index
from starling_server.postprocess.parser_client import client
from starling_training.examples.spans import Hole
from starling_training.sources.clean import Document, digest

DROPPED = 0.3
"""Share of training's holes without other files, so that the model also works without (Starling's design; Ding et al.
2023 and RepoCoder evaluate with and without)."""
Kind = Literal["on", "off", "definitions", "bm25"]
"""Which pieces are chosen: all, none, or those of one kind."""
PARTS: dict[Kind, tuple[Part, ...]] = {"on": BOTH, "off": (), "definitions": ("definitions",), "bm25": ("similar",)}


class Others:
    """The other files of each document's repository."""

    def __init__(
        self, learnt: Sequence[Document], held_out: Sequence[Document], tokens: int, kind: Kind = "on"
    ) -> None:
        self.tokens = tokens
        """Budget of a choice."""
        self._parts, self._learnt = PARTS[kind], learnt
        self._of_text = {document.sha256: document for document in (*learnt, *held_out)}
        self._indexes = dict[str, Index]()
        self._guest: Document | None = None
        """A held-out document that is in the index for its own holes, as an open file is in the editor's."""
        self._last: tuple[Hole, tuple[Piece, ...]] | None = None

    def __getstate__(self) -> dict[str, object]:
        """What stands for it where a dataset hashes the function that makes its columns."""
        return {"tokens": self.tokens, "parts": self._parts, "texts": sorted(self._of_text)}

    def build(self, done: Callable[[int], object] = lambda _: None) -> None:
        """Index the documents, if that is not done yet; `done` is called with their number so far."""
        if self._indexes or not self._parts:
            return
        for number, document in enumerate(self._learnt, 1):
            self._indexes.setdefault(document.repository, Index()).put_text(document.path, document.text)
            done(number)
        client("index").rest()

    def of(self, hole: Hole) -> tuple[Piece, ...]:
        """Pieces for a hole in one of the documents, most important first; none for another text."""
        if self._last is None or self._last[0] is not hole:
            self._last = hole, self._of(hole)
        return self._last[1]

    def _of(self, hole: Hole) -> tuple[Piece, ...]:
        document = self._of_text.get(digest(hole.prefix + hole.middle + hole.suffix))
        if document is None or not self._parts:
            return ()
        self.build()
        index = self._indexes.setdefault(document.repository, Index())
        self._admit(document)
        found = choose(index, Place(document.path, hole.prefix, hole.suffix), self.tokens, self._parts)
        return leaks.without(found, hole.middle)

    def _admit(self, document: Document) -> None:
        """Have `document` in its index, and no other document that is not learnt."""
        if self._guest is document:
            return
        if self._guest is not None:
            self._indexes[self._guest.repository].remove(self._guest.path)
            self._guest = None
        index = self._indexes[document.repository]
        if index.entry(document.path) is None:
            index.put_text(document.path, document.text)
            self._guest = document
