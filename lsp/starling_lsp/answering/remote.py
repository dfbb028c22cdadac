"""A running serve-copilot, as one editor's language server sees it."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Self
from uuid import uuid4

from starling_lsp.answering.adapter_choice import Choice
from starling_server.client import Client
from starling_server.completion.suggestion_cache import Recall, Remembered
from starling_server.errors import ServerUnreachable, Unauthorized
from starling_server.models.adapters import name_of
from starling_server.schema import ENDED, CompleteRequest, CompleteResponse, Timings, Usage
from starling_server.schema import Choice as Answer

CONNECT_SECONDS = 5.0
"""After which a server that says nothing counts as not there."""
ALIVE_SECONDS = 2.0
"""The same for one that answered before."""


class Remote:
    """One server, and the newest of its answers, so that typing along one needs no network."""

    def __init__(self, client: Client, adapter: str | None) -> None:
        self._client = client
        self._choice, self._asked = Choice(), name_of(adapter) if adapter else None
        self._editor = uuid4().hex
        self._recall = Recall()
        self.base, self.adapter = "", self._asked

    @classmethod
    async def connect(cls, client: Client, adapter: str | None, roots: Sequence[Path]) -> Self:
        """A server that is ready, over a client that is its own now; raises RequestError where it is not."""
        remote = cls(client, adapter)
        try:
            await remote.learn(roots)
        except BaseException:
            await remote.close()
            raise
        return remote

    @property
    def device(self) -> str:
        """The server's address."""
        return self._client.url

    @property
    def generations(self) -> None:
        """Only the server knows."""

    async def learn(self, roots: Sequence[Path]) -> None:
        """Learn what it serves; raises RequestError where it is not there, not ready, or does not know us."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                health = await self._client.ready()
        except TimeoutError as error:
            raise ServerUnreachable(f"{self._client.url} takes no requests: start serve-copilot anew.") from error
        if health.base is None:  # it says no more to those whom it does not know
            raise Unauthorized(f"{self._client.url} wants a token that it knows: set STARLING_TOKEN, or tokenFile.")
        self.base = health.base
        self._choice.served = health.adapters
        self.adapter = next((name for root in roots if (name := self.adapter_of(root))), self.adapter)

    async def alive(self) -> bool:
        """Whether it answers at all, be it that it has no model yet."""
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                await self._client.health()
        except (TimeoutError, ServerUnreachable):
            return False
        return True

    def adapter_of(self, folder: Path | None) -> str | None:
        """The one that was asked for, else the folder's own where the server has it, else the server's default."""
        return self._asked or self._choice.of(folder)

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """The answer from memory, else the server's."""
        known = self._known(request)
        if known is not None:
            return self._from_memory(request, known)
        response = await self._client.complete(request.model_copy(update={"session": self._session(request)}))
        best = response.choices[0]
        if _memorable(request) and best.finish_reason not in ENDED:
            self._recall.add(Remembered(_scope(request), request.prefix, request.suffix, best.text))
        return response

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether one of the server's answers goes on here."""
        return self._known(request) is not None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _known(self, request: CompleteRequest) -> str | None:
        return self._recall.find(_scope(request), request.prefix, request.suffix) if _memorable(request) else None

    def _from_memory(self, request: CompleteRequest, text: str) -> CompleteResponse:
        choice = Answer(text=text, finish_reason="stop")
        return CompleteResponse(
            id=uuid4().hex,
            base=self.base,
            adapter=request.adapter,
            choices=[choice],
            usage=Usage(),
            timings=Timings(),
        )

    def _session(self, request: CompleteRequest) -> str:
        """This editor's own: another window with the same document takes nothing over from this one."""
        return f"{self._editor}:{sha256((request.session or '').encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _memorable(request: CompleteRequest) -> bool:
    """Whether asking again, as an editor does with every key, would give the same answer."""
    return request.temperature == 0 and request.n == 1 and request.max_tokens != 0


def _scope(request: CompleteRequest) -> tuple[object, ...]:
    """What the remembered answers of this request have in common: all that is asked for but the place."""
    return (request.model_copy(update={"prefix": "", "suffix": ""}),)
