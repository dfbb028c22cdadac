"""Completer over the server shared by a user's editors: one model, started on first use, replaced when lost."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from starling_lsp.answering.adapter_choice import first_adapter
from starling_lsp.answering.remote import Remote
from starling_lsp.answering.shared_server import Place, find_or_start, is_gone
from starling_lsp.options import OPTIONS, Options
from starling_server.client import Client
from starling_server.errors import NotReady, RequestError, ServerUnreachable
from starling_server.models import adapters
from starling_server.options import on
from starling_server.schema import CompleteRequest, CompleteResponse
from starling_server.server_record import Running

PATIENCE_SECONDS = 2.0
"""Interval at which a server with a pending request is probed."""
POLL_SECONDS = 0.2
"""Interval at which a loading server is polled."""


class Shared:
    """Completer over the shared server; a request that finds it dead or hung waits for its replacement."""

    def __init__(self, options: Options, roots: Sequence[Path]) -> None:
        self._options, self._roots = options, roots
        self._place = Place(tuple(flags(options, roots)))
        self._remote: Remote | None = None
        self._server: Running | None = None
        """The server behind `_remote`, or the last one before it was lost."""
        self._finding: asyncio.Task[Remote] | None = None

    @classmethod
    async def connect(cls, options: Options, roots: Sequence[Path]) -> Self:
        """A completer whose server is ready; raises StarlingError."""
        shared = cls(options, roots)
        await shared._found()
        return shared

    @property
    def base(self) -> str:
        """The server's base."""
        return self._remote.base if self._remote else ""

    @property
    def adapter(self) -> str | None:
        """The adapter of the first folder."""
        return self._remote.adapter if self._remote else None

    @property
    def device(self) -> str:
        """The server's address."""
        return self._remote.device if self._remote else "nothing yet"

    @property
    def generations(self) -> None:
        """None: the counts are kept in the server process."""

    def adapter_of(self, around: Sequence[Path]) -> str | None:
        """See `Remote.adapter_of`."""
        return self._remote.adapter_of(around) if self._remote else None

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """The reply of the current server, or of its replacement; raises StarlingError."""
        remote = await self._found()
        try:
            return await _unless_dead(remote, request)
        except ServerUnreachable:
            if self._remote is remote:
                self._remote = None
                await remote.close()
            return await (await self._found()).complete(request)

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether a remembered reply of the server continues at this position."""
        return self._remote is not None and self._remote.remembers(request)

    async def close(self) -> None:
        """Close the connection; the server exits by itself when idle."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.wait([self._finding])
        if self._remote is not None:
            await self._remote.close()

    async def _found(self) -> Remote:
        """The server, once it is ready. A cancelled request does not cancel the search."""
        if self._remote is not None:
            return self._remote
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(self._find())
            self._finding.add_done_callback(_look_at)
        return await asyncio.shield(self._finding)

    async def _find(self) -> Remote:
        while True:
            self._server = await asyncio.to_thread(find_or_start, self._place, self._server)
            try:
                self._remote = remote = await self._once_ready(self._server)
                return remote
            except ServerUnreachable as error:
                if await asyncio.to_thread(is_gone, self._place):
                    raise self._place.failure() from error
                # it hangs: the next iteration kills it

    async def _once_ready(self, server: Running) -> Remote:
        while True:
            try:
                return await self._learn(server)
            except NotReady:
                await asyncio.sleep(POLL_SECONDS)

    async def _learn(self, server: Running) -> Remote:
        try:
            client = Client(server.url, token=server.token)
            return await Remote.connect(client, self._options.adapter, self._roots)
        except RequestError as error:
            if error.status == NotReady.status:
                raise NotReady(str(error)) from error
            raise


def _look_at(finding: "asyncio.Task[Remote]") -> None:
    """Retrieve the exception, so that asyncio does not report it as never retrieved; the next request retries."""
    if not finding.cancelled():
        finding.exception()


async def _unless_dead(remote: Remote, request: CompleteRequest) -> CompleteResponse:
    """The server's reply; raises ServerUnreachable also if the server hangs."""
    work = asyncio.create_task(remote.complete(request))
    try:
        while not (await asyncio.wait([work], timeout=PATIENCE_SECONDS))[0]:
            if not await remote.alive():
                raise ServerUnreachable(
                    "The shared server does not respond and is being restarted: try again in some seconds."
                )
        return work.result()
    finally:
        work.cancel()


def flags(options: Options, roots: Sequence[Path]) -> list[str]:
    """Flags of serve-copilot for these options and folders; raises AdapterError.

    A server has one base: by default, the base of the first folder's adapter, if it has one.
    """
    own = first_adapter(options, roots)
    base = own.manifest.base.id if own and options.base == "auto" else options.base
    given = options.values() | {"base": base}
    loaded = [option for option in on("serve-copilot", OPTIONS) if option.loads]
    elsewhere = own is not None and options.adapter and own.path.parent != adapters.home().resolve()
    adapter = ["--adapter", str(own.path)] if own and elsewhere else []
    return [*(part for option in loaded for part in option.as_arguments(given[option.name])), *adapter]
