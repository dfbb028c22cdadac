"""Follows the suggestions of one editor and records their outcomes."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import time

from starling_lsp.statistics.followed import Followed, Outcome, ending
from starling_lsp.statistics.journal import Entry, Journal

SHOWN_SECONDS = 0.3
"""Min time on screen; a suggestion that ends sooner was not read and does not count."""
GRACE_SECONDS = 0.5
"""Max delay between the edit that inserts a suggestion and the command that reports its acceptance."""
LATER_SECONDS = (30.0, 300.0)
REMEMBERED = 256
"""Max number of ids kept for later events."""
Text = Callable[[str], str | None]
"""Returns the current text of a document by URI; None if it is closed."""


class Statistics:
    """Tracker for one event loop. If the editor reports shown suggestions, only those count; otherwise every reply."""

    def __init__(self, text: Text, journal: Journal, client: str = "") -> None:
        self._text, self._journal, self.client = text, journal, client
        self._alive: dict[str, Followed] = {}
        self._by_id: OrderedDict[str, tuple[str, Followed]] = OrderedDict()
        self._later = set[asyncio.Future[None]]()
        self._tells = False

    def answered(self, uri: str, id: str, new: Followed) -> None:
        """Record a reply with suggestion `new`, unless it continues the document's last suggestion."""
        last = self._alive.get(uri)
        if last is not None and last.continues(new.start, new.text):
            followed = last
        else:
            self._end(uri)
            followed = self._alive[uri] = new
        followed.ids.add(id)
        self._by_id[id] = (uri, followed)
        while len(self._by_id) > REMEMBERED:
            self._by_id.popitem(last=False)
        if not self._tells:
            self._wait_to_be_read(uri, followed)

    def shown(self, id: str | None) -> None:
        """Record the editor's report that a suggestion is shown."""
        self._tells = True
        if id in self._by_id:
            self._wait_to_be_read(*self._by_id[id])

    def partly(self, id: str | None, characters: int) -> None:
        """Record the editor's report that the first `characters` characters of a suggestion were accepted."""
        if id in self._by_id:
            followed = self._by_id[id][1]
            followed.was_shown, followed.taken = True, max(followed.taken, characters)

    def accepted(self, id: str | None) -> None:
        """Record the editor's report that a suggestion was accepted."""
        uri, followed = self._by_id.get(id or "", ("", None))
        if followed is None or followed.outcome is not None:
            return
        followed.was_shown, followed.typed = True, len(followed.text)
        if self._alive.get(uri) is followed:
            del self._alive[uri]
        self._settle(uri, followed, "accepted")

    def changed(self, uri: str) -> None:
        """Update the document's suggestion after an edit or close."""
        followed, text = self._alive.get(uri), self._text(uri)
        if followed is None:
            return
        if text is None or not followed.agrees(text):
            self._end(uri)
        elif followed.whole:
            del self._alive[uri]
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._typed_to_the_end, uri, followed)

    async def close(self) -> None:
        """End all suggestions and write their entries."""
        for uri in list(self._alive):
            self._end(uri)
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        self._journal.close()

    def _wait_to_be_read(self, uri: str, followed: Followed) -> None:
        def read() -> None:
            followed.was_shown |= self._alive.get(uri) is followed

        asyncio.get_running_loop().call_later(SHOWN_SECONDS, read)

    def _typed_to_the_end(self, uri: str, followed: Followed) -> None:
        if followed.outcome is None and followed.was_shown:
            self._settle(uri, followed, ending(followed))

    def _end(self, uri: str) -> None:
        followed = self._alive.pop(uri, None)
        if followed is not None and followed.was_shown:
            self._settle(uri, followed, ending(followed))

    def _settle(self, uri: str, followed: Followed, outcome: Outcome) -> None:
        followed.outcome = outcome
        if outcome == "accepted":
            task = asyncio.ensure_future(self._look_later(uri, followed))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        else:
            self._write(followed, None, None)

    async def _look_later(self, uri: str, followed: Followed) -> None:
        """Write an accepted suggestion after its kept shares are measured, or at once if the server shuts down."""
        kept: list[float | None] = [None, None]
        try:
            waited = 0.0
            for number, seconds in enumerate(LATER_SECONDS):
                await asyncio.sleep(seconds - waited)
                waited, text = seconds, self._text(uri)
                kept[number] = None if text is None else followed.kept(text)
        finally:
            self._write(followed, *kept)

    def _write(self, followed: Followed, kept_30: float | None, kept_300: float | None) -> None:
        taken = max(followed.typed, followed.taken)
        self._journal.add(
            Entry(
                time(), followed.language, followed.adapter, followed.base, self.client,
                len(followed.text), taken, followed.outcome or "dismissed", kept_30, kept_300,
            )
        )  # fmt: skip
