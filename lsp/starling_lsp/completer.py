"""Who answers: a model in this process or a running server. Torch is imported by the first kind only, and late."""

import asyncio
import logging
from pathlib import Path
from typing import Protocol

from starling_lsp.options import Options
from starling_server import adapters
from starling_server.adapters import Adapter
from starling_server.client import Client
from starling_server.config import EngineConfig, ModelConfig, ServiceConfig
from starling_server.schema import CompleteRequest, CompleteResponse

log = logging.getLogger(__name__)


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
        self._client = Client(options.server)
        self.base, self.adapter = "", options.adapter

    async def connect(self) -> None:
        """Learn what it serves; raises RequestError where it is not there or not ready."""
        self.base = (await self._client.ready()).base or ""

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Ask the server."""
        response = await self._client.complete(request.model_copy(update={"adapter": self.adapter}))
        self.base = response.base
        return response

    def remembers(self, request: CompleteRequest) -> bool:
        """Only the server knows."""
        return False

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


class Local:
    """The model in this process."""

    def __init__(self, options: Options, workspace: Path | None) -> None:
        from starling_server.start import in_daemon_thread, start

        served = choose_adapter(options, workspace)
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

    async def load(self) -> None:
        """Wait until the model is in memory; raises BaseModelError, AdapterError."""
        self._service = await asyncio.wrap_future(self._loading)
        self.base = self._service.model.id

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


def choose_adapter(options: Options, workspace: Path | None) -> Adapter | None:
    """The adapter that was asked for, else the workspace's own where it fits the base; raises AdapterError."""
    if options.adapter == adapters.BARE:
        return None
    if options.adapter:
        return adapters.find(options.adapter)
    own = adapters.for_workspace(workspace) if workspace else None
    if own is not None and options.base not in ("auto", own.manifest.base.id):
        log.warning("adapter %s was trained on base %s, not %s: left out", own.name, own.manifest.base.id, options.base)
        return None
    return own


async def connect(options: Options, workspace: Path | None) -> Completer:
    """A completer that is ready; raises StarlingError."""
    if options.server:
        remote = Remote(options)
        await remote.connect()
        return remote
    local = Local(options, workspace)
    await local.load()
    return local
