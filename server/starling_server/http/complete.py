"""`/complete`: our own shape."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from starling_server.errors import NotReady
from starling_server.http.idle import Activity
from starling_server.schema import CompleteRequest, CompleteResponse, TextEvent
from starling_server.service import Service

POLL_SECONDS = 0.05
"""How often a waiting request looks whether its client is still there."""


class Api:
    """The routes' methods, over a service that may still be loading."""

    def __init__(self) -> None:
        self.service: Service | None = None
        """The one that answers; None while it is loaded, at first or again."""
        self.activity = Activity()

    async def complete(self, body: CompleteRequest, request: Request) -> Response:
        """Suggest what comes between `prefix` and `suffix`.

        With `stream`, server-sent events: `text` events with a `delta`, then one `done` event with the whole answer.
        """
        service = self.loaded()
        if body.stream:
            service.check(body)
            return StreamingResponse(_events(service, body), media_type="text/event-stream")
        return await _while_connected(request, service, body)

    def loaded(self) -> Service:
        """The service; raises NotReady while there is none."""
        if self.service is None:
            raise NotReady("The model is still loading: try again in some seconds.")
        return self.service


async def _while_connected(request: Request, service: Service, body: CompleteRequest) -> Response:
    """The answer, or nothing as soon as the client has gone: a plain route is not cancelled by that."""
    work = asyncio.create_task(service.complete(body))
    try:
        while not work.done():
            await asyncio.wait([work], timeout=POLL_SECONDS)
            if not work.done() and await request.is_disconnected():
                return Response(status_code=499)  # nobody reads it
        return Response(work.result().model_dump_json(), media_type="application/json")
    finally:
        await _stop(work)


async def _events(service: Service, body: CompleteRequest) -> AsyncGenerator[bytes]:
    """Server-sent events of one answer; leaving early stops the model."""
    texts: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(text: str) -> None:
        loop.call_soon_threadsafe(texts.put_nowait, text)

    work = asyncio.create_task(service.complete(body, tell))
    work.add_done_callback(lambda _: texts.put_nowait(None))
    sent = 0
    try:
        while (text := await texts.get()) is not None:
            if len(text) > sent:
                yield format_sse_event(event="text", data_str=TextEvent(delta=text[sent:]).model_dump_json())
                sent = len(text)
        yield format_sse_event(event="done", data_str=work.result().model_dump_json())
    finally:
        await _stop(work)


async def _stop(work: "asyncio.Task[CompleteResponse]") -> None:
    if not work.done():
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
