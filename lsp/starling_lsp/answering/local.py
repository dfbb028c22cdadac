"""Completer with the model in this process; imports torch late."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from starling_lsp.answering.adapter_choice import Choice, first_adapter
from starling_lsp.options import Options
from starling_server.config import EngineConfig, ModelConfig, ServiceConfig
from starling_server.errors import UnknownAdapter
from starling_server.models.adapters import BARE
from starling_server.options import taken_by
from starling_server.schema import CompleteRequest, CompleteResponse


class Local:
    """Completer with the model in this process."""

    def __init__(self, options: Options, roots: Sequence[Path]) -> None:
        from starling_server.serve.start import in_daemon_thread, start

        self._choice, self._asked = Choice(), options.adapter
        served = first_adapter(options, roots)
        given = options.values()
        model = ModelConfig(**taken_by(ModelConfig, given))
        engine = EngineConfig(**taken_by(EngineConfig, given))
        service = ServiceConfig(engine=engine, **taken_by(ServiceConfig, given))
        self._loading = in_daemon_thread(lambda: start(model, service, [served] if served else []))
        self._service = None
        self.base, self.adapter = options.base, served.name if served else None

    @property
    def device(self) -> str:
        """The backend's device."""
        return self._service.backend.device if self._service else "nothing yet"

    @property
    def generations(self) -> tuple[int, int] | None:
        """The service's counts."""
        return self._service.generations if self._service else None

    async def load(self) -> None:
        """Wait until the model is in memory; raises BaseModelError, AdapterError."""
        try:
            self._service = await asyncio.shield(asyncio.wrap_future(self._loading))
        except asyncio.CancelledError:  # loading cannot be stopped; close its result when done
            self._loading.add_done_callback(lambda done: done.exception() or done.result().close())
            raise
        self.base = self._service.backend.id
        self._choice.served = self._service.adapters.names()

    def adapter_of(self, around: Sequence[Path]) -> str | None:
        """The requested adapter, else the folder's own if it fits the base, else the bare base."""
        own = self.adapter if self._asked or not around else self._choice.of(around)
        return own or BARE

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Complete `request` with the local service."""
        assert self._service is not None
        return await self._service.complete(request)

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether the service has the reply cached; false for an adapter that is no longer served."""
        assert self._service is not None
        try:
            return self._service.remembers(request)
        except UnknownAdapter:
            return False

    async def close(self) -> None:
        """Close the service."""
        if self._service is not None:
            self._service.close()
