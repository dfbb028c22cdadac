"""Progress in the editor (`window/workDoneProgress`): of loading the model, and of indexing a folder."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

log = logging.getLogger(__name__)
LOADING = "starling-loading"
SECONDS = 2.0
"""Timeout of the editor's consent to show progress."""
Report = Callable[[int, int], None]
"""Takes the number of files read and of all."""


class Progress:
    """Progress of one server, shown if its editor supports that."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server

    @asynccontextmanager
    async def loading(self) -> AsyncGenerator[None]:
        """While the model is loaded."""
        if not await self._may_show(LOADING):
            yield
            return
        shown = self._server.work_done_progress
        shown.begin(LOADING, types.WorkDoneProgressBegin("Starling: loading the model"))
        try:
            yield
        finally:
            shown.end(LOADING, types.WorkDoneProgressEnd())

    @asynccontextmanager
    async def indexing(self, root: Path, stop: Callable[[], None]) -> AsyncGenerator[Report]:
        """While a folder is indexed; `stop` is called where a person cancels it."""
        token = f"starling-indexing-{root}"
        if not await self._may_show(token):
            yield lambda done, total: None
            return
        shown = self._server.work_done_progress

        def ended(consent: "Future[None]") -> None:
            if consent.cancelled():
                stop()

        shown.tokens[token].add_done_callback(ended)
        begin = types.WorkDoneProgressBegin(f"Starling: indexing {root.name}", cancellable=True, percentage=0)
        shown.begin(token, begin)

        def report(done: int, total: int) -> None:
            said = types.WorkDoneProgressReport(message=f"{done} of {total} files", percentage=100 * done // total)
            shown.report(token, said)

        try:
            yield report
        finally:
            shown.end(token, types.WorkDoneProgressEnd())
            shown.tokens.pop(token, None)  # a token that was cancelled would cancel the folder's next indexing

    async def _may_show(self, token: str) -> bool:
        """Whether the editor shows progress under `token`."""
        window = self._server.client_capabilities.window
        if not (window and window.work_done_progress):
            return False
        try:
            async with asyncio.timeout(SECONDS):
                if token not in self._server.work_done_progress.tokens:
                    await self._server.work_done_progress.create_async(token)
        except (TimeoutError, JsonRpcException):
            log.warning("the editor shows no progress, though it said that it does")
            return False
        return True
