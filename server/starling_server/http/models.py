"""`/v1/models`: the bare base and its adapters, under the names that `model` takes."""

import asyncio
from time import time

from starling_server.completion.service import Service
from starling_server.errors import UnknownAdapter
from starling_server.http.complete import Api
from starling_server.http.completions_wire import ModelCard, ModelList
from starling_server.models.adapter_versions import AdapterVersion
from starling_server.models.adapters import BARE

DEFAULT = "starling"
"""The `model` that means the server's default, for clients that must name one; an adapter of this name goes first."""


class Models:
    """The routes' methods."""

    def __init__(self, api: Api) -> None:
        self._api, self._since = api, int(time())

    async def every(self) -> ModelList:
        """The bare base, by its id, and every adapter."""
        service = self._api.loaded()
        names = await asyncio.to_thread(service.adapters.names)
        return ModelList(data=[self._card(name) for name in (service.backend.id, *names)])

    async def one(self, name: str) -> ModelCard:
        """One of them."""
        adapter = await resolve(self._api.loaded(), name)
        return self._card(adapter.name if adapter else self._api.loaded().backend.id)

    def _card(self, name: str) -> ModelCard:
        return ModelCard(id=name, created=self._since)


async def resolve(service: Service, name: str | None) -> AdapterVersion | None:
    """The version that a request's `model` means, None for the bare base; raises UnknownAdapter."""
    registry = service.adapters
    if name == service.backend.id:
        return registry.resolve(BARE)
    await registry.find(name)
    try:
        return registry.resolve(name)
    except UnknownAdapter:
        if name == DEFAULT:
            return registry.resolve(None)
        raise
