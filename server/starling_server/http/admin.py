"""Endpoints for operators: health, metrics and adapters."""

import asyncio
import os
from collections.abc import Callable

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from starling_server.completion.service import Service
from starling_server.engine.engine import Steps
from starling_server.engine.job_queue import Interrupted, Ticket
from starling_server.errors import BrokenAdapter, NotReady, Overloaded, UnknownAdapter
from starling_server.http.complete import Api
from starling_server.http.middleware.metrics import Metrics
from starling_server.http.middleware.problems import shortened
from starling_server.models.adapter_registry import State
from starling_server.schema import AdapterList, AdapterState, Health

MOST_NAME_BYTES = 255
"""Max bytes of a file name on common systems."""
ASIDE_SECONDS = 30.0
"""Max seconds to wait for the model's thread while an adapter is loaded."""


class Operations:
    """Handlers of the routes."""

    def __init__(self, api: Api, metrics: Metrics) -> None:
        self._api, self._metrics = api, metrics

    async def health(self) -> Health:
        """Whether the process is alive."""
        return Health(status="loading" if self._api.service is None else "ok")

    async def ready(self, request: Request) -> Health:
        """Whether the model is loaded and its thread, or the server of --engine, responds.

        Clients with a token also get the names of the base and the adapters.
        """
        service = self._api.loaded()
        if not service.scheduler.alive:
            raise NotReady("The model's thread died and is being replaced: try again in some seconds.")
        await asyncio.to_thread(service.backend.engine.check)
        if not request.state.known:
            return Health(status="ok")
        names = await asyncio.to_thread(service.adapters.names)
        return Health(status="ok", base=service.backend.id, adapters=names)

    async def metrics(self) -> Response:
        """Metrics in Prometheus' text format."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def adapters(self) -> AdapterList:
        """The adapters of this base, including those whose newest files cannot be used."""
        shelf = self._api.loaded().adapters
        states = await asyncio.to_thread(shelf.states)
        return AdapterList(default=shelf.default, adapters=[_state(state) for state in states])

    async def load(self, name: str) -> AdapterState:
        """Load the adapter of this name from its folder. Needs an admin token."""
        service = self._api.loaded()
        shelf = service.adapters
        if not names_a_folder(name):
            raise UnknownAdapter(f"No folder can have the name {shortened(name)!r}: GET /v1/adapters lists adapters.")
        await asyncio.to_thread(shelf.offer, name)
        try:
            await self._aside(service, lambda: shelf.ready(name))
        except UnknownAdapter as error:
            raise BrokenAdapter(str(error)) from error
        state = next(state for state in await asyncio.to_thread(shelf.states) if state.name == name)
        if state.broken:
            raise BrokenAdapter(state.broken)
        return _state(state)

    async def unload(self, name: str) -> Response:
        """Stop serving this adapter; running requests finish. Needs an admin token."""
        service = self._api.loaded()
        service.adapters.withdraw(name)
        await self._aside(service, service.adapters.tidy)
        return Response(status_code=204)

    async def _aside(self, service: Service, act: Callable[[], object]) -> None:
        """Run a function on the model's thread between two forward passes; raises Overloaded on timeout."""

        def work(_: Ticket) -> Steps[None]:
            act()
            return
            yield

        try:
            await service.run(work, ASIDE_SECONDS)
        except Interrupted as error:
            raise Overloaded(f"The model was busy for {ASIDE_SECONDS:.0f} seconds: try again.") from error


def names_a_folder(name: str) -> bool:
    """Whether this is a valid folder name; for invalid ones, systems raise different errors."""
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        return False
    return 0 < size <= MOST_NAME_BYTES and not {"\0", "/", "\\"} & set(name) and name not in {".", ".."}


def _state(state: State) -> AdapterState:
    version = None if state.version is None else str(state.version)
    return AdapterState(name=state.name, version=version, loaded=state.loaded, bytes=state.nbytes, broken=state.broken)
