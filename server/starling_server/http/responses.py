"""Responses whose computation stops when the client disconnects."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from starling_server.completion.completer import OnText

T = TypeVar("T")
Work = Coroutine[Any, Any, T]
POLL_SECONDS = 0.05
"""Seconds between checks for a client's disconnect."""
WAY_SECONDS = 5.0
"""Max seconds after the deadline to send the rest of a stream."""
GONE = 499
"""nginx's status for a client that disconnected; it is never received."""


class Streamed(StreamingResponse):
    """Server-sent events; `seconds` and a grace period after the start, the connection is closed."""

    def __init__(self, events: AsyncGenerator[bytes], seconds: float) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._seconds = seconds + WAY_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            hang_up: Callable[[], None] | None = scope.get("state", {}).get("hang_up")
            if hang_up is None:
                raise
            hang_up()
            await asyncio.sleep(0)  # until the server has noticed


async def answer(request: Request, work: Work[BaseModel | dict[str, Any]]) -> Response:
    """The result of `work` as JSON; `work` is cancelled if the client disconnects, which FastAPI does not do."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=POLL_SECONDS)
            if not task.done() and await request.is_disconnected():
                return Response(status_code=GONE)
        return as_json(task.result())
    finally:
        await _stop(task)


def as_json(found: BaseModel | dict[str, Any]) -> Response:
    """`found` as JSON, without FastAPI's second validation."""
    if isinstance(found, BaseModel):
        return Response(found.model_dump_json(), media_type="application/json")
    return Response(json.dumps(found), media_type="application/json")


async def streamed(start: Callable[[OnText], Work[T]]) -> AsyncGenerator[str | T]:
    """Each addition to the text while the work of `start` runs, then its result; closing early cancels the work."""
    texts: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(text: str) -> None:
        loop.call_soon_threadsafe(texts.put_nowait, text)

    task = asyncio.create_task(start(tell))
    task.add_done_callback(lambda _: texts.put_nowait(None))
    sent = 0
    try:
        while (text := await texts.get()) is not None:
            if len(text) > sent:
                yield text[sent:]
                sent = len(text)
        yield task.result()
    finally:
        await _stop(task)


async def together(works: Sequence[Work[T]]) -> list[T]:
    """Results of all `works`; if one fails, the others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            await _stop(task)


async def _stop(task: "asyncio.Task[Any]") -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
