"""Problem documents that OpenAI's clients can read too: they look for a sentence in `error.message` only."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response

Handler = Callable[[Request, Exception], Awaitable[Response]]
SHAPES = ("/v1/", "/infill")
"""Addresses of shapes that others made."""


def answer_openai(app: FastAPI) -> None:
    """Give the problem documents of `app`'s handlers, at addresses of `SHAPES`, OpenAI's member `error` as well.

    RFC 9457 lets a document have further members (section 3.2).
    """
    for kind, handler in list(app.exception_handlers.items()):
        app.exception_handlers[kind] = _extending(handler)  # pyright: ignore[reportArgumentType]


def error(problem: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's object for a problem document."""
    kind = str(problem["type"]).rpartition(":")[2]
    return {"message": problem["detail"], "type": kind, "param": None, "code": problem["status"]}


def extended(response: Response, path: str) -> Response:
    """`response` with the further member, where it is a problem document and `path` one of `SHAPES`."""
    if not path.startswith(SHAPES) or response.media_type != "application/problem+json":
        return response
    problem = json.loads(bytes(response.body))
    response.body = json.dumps({**problem, "error": error(problem)}).encode()
    response.headers["content-length"] = str(len(response.body))
    return response


def _extending(handler: Any) -> Handler:
    async def answer(request: Request, failure: Exception) -> Response:
        return extended(await handler(request, failure), request.url.path)

    return answer
