"""Latest wins, on the server: Neovim sends no cancellation while typing, and would show a late reply."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class Inflight:
    """The newest request's task per document."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[object]] = {}

    @contextmanager
    def latest(self, uri: str) -> Generator[None]:
        """Run as `uri`'s newest request: an older one's task is cancelled, and so is this one by a newer."""
        task = asyncio.current_task()
        assert task is not None
        older = self._tasks.get(uri)
        if older is not None:
            older.cancel()
        self._tasks[uri] = task
        try:
            yield
        finally:
            if self._tasks.get(uri) is task:
                del self._tasks[uri]
