"""Who answers: a model in this process or a running server. Torch is imported by the first kind only, and late."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from starling_lsp.options import Options
from starling_server import adapters
from starling_server.adapters import BARE, Adapter
from starling_server.client import Client
from starling_server.config import EngineConfig, ModelConfig, ServiceConfig
from starling_server.errors import ServerUnreachable
from starling_server.schema import CompleteRequest, CompleteResponse

log = logging.getLogger(__name__)
CONNECT_SECONDS = 5.0
"""After which a server that says nothing counts as not there."""


class Completer(Protocol):
    """Answers requests."""

    @property
    def base(self) -> str:
        """The base that answers."""
        ...

    @property
    def adapter(self) -> str | None:
        """The adapter of requests that name none."""
        ...

    @property
    def device(self) -> str:
        """Where the model computes, for a person."""
        ...

    @property
    def generations(self) -> tuple[int, int] | None:
        """How many the model has begun so far and how many run now; None where it is not here."""
        ...

    def adapter_of(self, folder: Path | None) -> str | None:
        """What requests for documents of this folder should name as their adapter."""
        ...

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Answer `request`; cancelling the task stops the model. Raises RequestError."""
        ...

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether the answer is known without asking the model."""
        ...

    async def close(self) -> None:
        """Let go of the model or the connection."""
        ...


class Remote:
    """A running serve-copilot."""

    def __init__(self, options: Options) -> None:
        assert options.server is not None
        self._client = Client(options.server, Path(options.token_file) if options.token_file else None)
        self._choice, self._asked = Choice(), options.adapter
        self.base, self.adapter = "", options.adapter

    @property
    def device(self) -> str:
        """The server's address."""
        return self._client.url

    @property
    def generations(self) -> None:
        """Only the server knows."""

    async def connect(self, roots: Sequence[Path]) -> None:
        """Learn what it serves; raises RequestError where it is not there or not ready."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                health = await self._client.ready()
        except TimeoutError as error:
            raise ServerUnreachable(f"{self._client.url} takes no requests: start serve-copilot anew.") from error
        self.base = health.base or ""
        self._choice.served = health.adapters
        self.adapter = next((name for root in roots if (name := self.adapter_of(root))), self.adapter)

    def adapter_of(self, folder: Path | None) -> str | None:
        """The one that was asked for, else the folder's own where the server has it, else the server's default."""
        return self._asked or self._choice.of(folder)

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Ask the server."""
        return await self._client.complete(request)

    def remembers(self, request: CompleteRequest) -> bool:
        """Only the server knows."""
        return False

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


class Local:
    """The model in this process."""

    def __init__(self, options: Options, roots: Sequence[Path]) -> None:
        from starling_server.start import in_daemon_thread, start

        self._choice, self._asked = Choice(), options.adapter
        served = first_adapter(options, roots)
        model = ModelConfig(
            options.base,
            options.quantize,
            options.device,
            runner=options.runner,
            ggml_type=options.ggml_type,
            cuda_graphs=options.cuda_graphs,
        )
        service = ServiceConfig(
            max_tokens=options.max_tokens,
            mode=options.mode,
            prefetch=options.prefetch,
            drafts=options.drafts,
            engine=EngineConfig(cache_mb=options.cache_mb),
        )
        self._loading = in_daemon_thread(lambda: start(model, service, [served] if served else []))
        self._service = None
        self.base, self.adapter = options.base, served.name if served else None

    @property
    def device(self) -> str:
        """As the runner names it."""
        return self._service.model.device if self._service else "nothing yet"

    @property
    def generations(self) -> tuple[int, int] | None:
        """As the service counts them."""
        return self._service.generations if self._service else None

    async def load(self) -> None:
        """Wait until the model is in memory; raises BaseModelError, AdapterError."""
        try:
            self._service = await asyncio.shield(asyncio.wrap_future(self._loading))
        except asyncio.CancelledError:  # loading goes on where it is, and what comes of it is not wanted
            self._loading.add_done_callback(lambda done: done.exception() or done.result().close())
            raise
        self.base = self._service.model.id
        self._choice.served = self._service.model.shelf.names()

    def adapter_of(self, folder: Path | None) -> str | None:
        """The one that was asked for, else the folder's own where it fits the base, else none."""
        own = self.adapter if self._asked or folder is None else self._choice.of(folder)
        return own or BARE

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Ask the model."""
        assert self._service is not None
        return await self._service.complete(request)

    def remembers(self, request: CompleteRequest) -> bool:
        """Ask its memory."""
        assert self._service is not None
        return self._service.remembers(request)

    async def close(self) -> None:
        """Stop the worker."""
        if self._service is not None:
            self._service.close()


class Choice:
    """Which adapter belongs to a folder; each folder is looked up once."""

    def __init__(self) -> None:
        self._known: dict[Path, str | None] = {}
        self.served: Sequence[str] = ()
        """Names of those that can be asked for."""

    def of(self, folder: Path | None) -> str | None:
        """The one that was trained on it, None where there is none for this base."""
        if folder is None:
            return None
        if folder not in self._known:
            self._known[folder] = self._look_up(folder)
        return self._known[folder]

    def _look_up(self, folder: Path) -> str | None:
        own = adapters.for_workspace(folder)
        if own is None or own.name in self.served:
            return own.name if own else None
        log.warning("adapter %s of %s is not for this base: left out", own.name, folder)
        return None


def first_adapter(options: Options, roots: Iterable[Path]) -> Adapter | None:
    """The adapter that was asked for, else the first folder's own where it fits the base; raises AdapterError."""
    if options.adapter == BARE:
        return None
    if options.adapter:
        return adapters.find(options.adapter)
    found = (own for root in roots if (own := adapters.for_workspace(root)))
    return next((own for own in found if options.base in ("auto", own.manifest.base.id)), None)


async def connect(options: Options, roots: Sequence[Path]) -> Completer:
    """A completer that is ready; raises StarlingError."""
    if options.server:
        remote = Remote(options)
        try:
            await remote.connect(roots)
        except BaseException:
            await remote.close()
            raise
        return remote
    local = Local(options, roots)
    await local.load()
    return local
