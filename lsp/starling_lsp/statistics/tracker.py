"""Follows what is suggested in one editor, and writes down what became of it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import time

from starling_lsp.statistics.followed import Followed, Outcome, ending
from starling_lsp.statistics.journal import Entry, Journal

SHOWN_SECONDS = 0.3
"""A suggestion that is gone sooner was not read, and does not count."""
GRACE_SECONDS = 0.5
"""Between the edit that puts a suggestion into a document and the command that says that a key did it."""
LATER_SECONDS = (30.0, 300.0)
REMEMBERED = 256
"""Ids that events may still name."""
Text = Callable[[str], str | None]
"""A document's text now by its URI, None where it is closed."""


class Statistics:
    """For one event loop. Editors that send what is shown are believed; for the others an answer counts as shown."""

    def __init__(self, text: Text, journal: Journal, client: str = "") -> None:
        self._text, self._journal, self.client = text, journal, client
        self._alive: dict[str, Followed] = {}
        self._by_id: OrderedDict[str, tuple[str, Followed]] = OrderedDict()
        self._later = set[asyncio.Future[None]]()
        self._tells = False

    def answered(self, uri: str, id: str, new: Followed) -> None:
        """A suggestion was answered; `new` is it, as far as it is no continuation of the last one."""
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
        """The editor says that it shows a suggestion."""
        self._tells = True
        if id in self._by_id:
            self._wait_to_be_read(*self._by_id[id])

    def partly(self, id: str | None, characters: int) -> None:
        """The editor says that the first so many characters of a suggestion were accepted."""
        if id in self._by_id:
            followed = self._by_id[id][1]
            followed.was_shown, followed.taken = True, max(followed.taken, characters)

    def accepted(self, id: str | None) -> None:
        """The editor says that a suggestion was accepted."""
        uri, followed = self._by_id.get(id or "", ("", None))
        if followed is None or followed.outcome is not None:
            return
        followed.was_shown, followed.typed = True, len(followed.text)
        if self._alive.get(uri) is followed:
            del self._alive[uri]
        self._settle(uri, followed, "accepted")

    def changed(self, uri: str) -> None:
        """A document was edited or closed."""
        followed, text = self._alive.get(uri), self._text(uri)
        if followed is None:
            return
        if text is None or not followed.agrees(text):
            self._end(uri)
        elif followed.whole:
            del self._alive[uri]
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._typed_to_the_end, uri, followed)

    async def close(self) -> None:
        """Write down what is left."""
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
        """Write down an accepted one once it is known what stayed of it; at once where the server ends before."""
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
