"""HTTP over the service. Errors are RFC 9457 problem documents, and none is the model's fault but a 500."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from starling_server import __version__
from starling_server.errors import NotReady, RequestError
from starling_server.schema import CompleteRequest, CompleteResponse, Health, Problem, TextEvent
from starling_server.service import Service

log = logging.getLogger(__name__)
MAX_BODY = 2 << 20
"""Bytes of a request's body."""
POLL_SECONDS = 0.05
"""How often a waiting request looks whether its client is still there."""
PROBLEM_TYPE = "urn:starling:problem:"
"""Prefix of problem types: identifiers, not places to look (RFC 9457, 3.1.1)."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}} for status in (404, 413, 422, 503)
}


class BodyLimit:
    """Refuses bodies over `limit` bytes, announced or not, where the routes' own error handling sees it.

    FastAPI's `max_body_size` answers in plain text instead of a problem document.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._limit:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)


class Api:
    """The routes' methods, over a service that may still be loading."""

    def __init__(self) -> None:
        self.service: Service | None = None
        """Set once the model is loaded."""

    async def complete(self, body: CompleteRequest, request: Request) -> Response:
        """Suggest what comes between `prefix` and `suffix`.

        With `stream`, server-sent events: `text` events with a `delta`, then one `done` event with the whole answer.
        """
        service = self._loaded()
        if body.stream:
            service.check(body)
            return StreamingResponse(_events(service, body), media_type="text/event-stream")
        return await _while_connected(request, service, body)

    async def health(self) -> Health:
        """Whether the process is alive."""
        return Health(status="loading") if self.service is None else await self.ready()

    async def ready(self) -> Health:
        """Whether the model is loaded."""
        model = self._loaded().model
        return Health(status="ok", base=model.id, adapters=model.shelf.names())

    def _loaded(self) -> Service:
        if self.service is None:
            raise NotReady("The model is still loading: try again in some seconds.")
        return self.service


def create_app(api: Api) -> FastAPI:
    """The application; it answers `/health` from the start and all else once `api` has its service."""
    app = FastAPI(
        title="Starling",
        version=__version__,
        summary="Code completion that has read your codebase.",
        docs_url=None,  # both pages load their scripts from elsewhere; the document itself is at /openapi.json
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, limit=MAX_BODY)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(Exception, _internal)
    answers: dict[int | str, dict[str, Any]] = {200: {"model": CompleteResponse}, **PROBLEMS}
    app.add_api_route("/complete", api.complete, methods=["POST"], response_model=None, responses=answers)
    app.add_api_route("/health", api.health)
    app.add_api_route("/ready", api.ready, responses={503: PROBLEMS[503]})
    return app


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


def _problem(kind: str, status: int, detail: str) -> Response:
    title = HTTPStatus(status).phrase
    problem = Problem(type=PROBLEM_TYPE + kind, title=title, status=status, detail=detail)
    return Response(problem.model_dump_json(), status, media_type="application/problem+json")


async def _invalid(_: Request, error: Exception) -> Response:
    first = cast(RequestValidationError, error).errors()[0]
    if first["type"] == "json_invalid":
        return _problem("invalid-request", 422, f"The body is not valid JSON at character {first['loc'][-1]}.")
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    return _problem("invalid-request", 422, f"{where}: {first['msg']}; see /openapi.json for what is accepted.")


async def _http_error(_: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    detail = {
        404: "There is nothing at this address: /openapi.json lists what there is.",
        405: "This address does not take that method: /openapi.json lists what it takes.",
        413: f"The body is over {MAX_BODY >> 20} MB: send less of the document around the cursor.",
    }.get(error.status_code, str(error.detail))
    return _problem("http-error", error.status_code, detail)


async def _request_error(_: Request, error: Exception) -> Response:
    error = cast(RequestError, error)
    return _problem(error.kind, error.status, str(error))


async def _internal(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return _problem("internal", 500, "The server failed on this request; its log says why.")
