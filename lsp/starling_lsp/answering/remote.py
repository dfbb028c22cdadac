"""Completer over a running serve-copilot, for one editor."""

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
"""Timeout of the first contact with a server."""
ALIVE_SECONDS = 2.0
"""Timeout of a probe of a connected server."""


class Remote:
    """One server and a cache of its newest replies, so that typing along a suggestion needs no network."""

    def __init__(self, client: Client, adapter: str | None) -> None:
        self._client = client
        self._choice, self._asked = Choice(), name_of(adapter) if adapter else None
        self._editor = uuid4().hex
        self._recall = Recall()
        self.base, self.adapter = "", self._asked

    @classmethod
    async def connect(cls, client: Client, adapter: str | None, roots: Sequence[Path]) -> Self:
        """Connect to a ready server and take ownership of `client`; raises RequestError if the server is not ready."""
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
        """None: the counts are kept in the server process."""

    async def learn(self, roots: Sequence[Path]) -> None:
        """Fetch the served base and adapters; raises RequestError if it is unreachable, not ready or denies us."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                health = await self._client.ready()
        except TimeoutError as error:
            raise ServerUnreachable(f"{self._client.url} does not respond: restart serve-copilot there.") from error
        if health.base is None:  # the server hides its base from unauthorised clients
            raise Unauthorized(
                f"{self._client.url} requires one of its tokens: set STARLING_TOKEN or the option tokenFile."
            )
        self.base = health.base
        self._choice.served = health.adapters
        self.adapter = next((name for root in roots if (name := self.adapter_of([root]))), self.adapter)

    async def alive(self) -> bool:
        """Whether the server responds, even if its model is not loaded yet."""
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                await self._client.health()
        except (TimeoutError, ServerUnreachable):
            return False
        return True

    def adapter_of(self, around: Sequence[Path]) -> str | None:
        """The requested adapter, else the folder's own if the server has it, else None for the server's default."""
        return self._asked or self._choice.of(around)

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """The reply from the cache, else from the server."""
        known = self._known(request)
        if known is not None:
            return self._from_memory(request, known)
        response = await self._client.complete(request.model_copy(update={"session": self._session(request)}))
        best = response.choices[0]
        if _memorable(request) and best.finish_reason not in ENDED:
            self._recall.add(Remembered(_scope(request), request.prefix, request.suffix, best.text))
        return response

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether a remembered reply of the server continues at this position."""
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
        """Session id unique to this editor: another window with the same document does not supersede its requests."""
        return f"{self._editor}:{sha256((request.session or '').encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _memorable(request: CompleteRequest) -> bool:
    """Whether the request is deterministic, so that a repeated one, as after every key, gives the same reply."""
    return request.temperature == 0 and request.n == 1 and request.max_tokens != 0


def _scope(request: CompleteRequest) -> tuple[object, ...]:
    """Cache key: all fields of the request except prefix and suffix."""
    return (request.model_copy(update={"prefix": "", "suffix": ""}),)
