"""Errors as RFC 9457 problem documents; only status 500 is a failure of the server itself."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from starling_server.errors import RequestError
from starling_server.http.middleware.limits import BODY_SECONDS, MAX_BODY
from starling_server.printable import printable
from starling_server.schema import Problem

PROBLEM_TYPE = "urn:starling:problem:"
"""Prefix of problem types, which are identifiers and not addresses (RFC 9457, 3.1.1)."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}}
    for status in (400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 431, 503)
}
"""Responses of every route, for the OpenAPI document."""
MOST_SENT = 40
"""Max characters of a value in a message."""
MOST_NAME = 100
"""Max characters of a client's name or header in a message."""


def answer_problems(app: FastAPI) -> None:
    """Register handlers that answer every client error with a problem document."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestError, _request_error)


def problem(error: RequestError) -> Response:
    """The problem document of `error`, with `Retry-After` and `WWW-Authenticate` where they apply."""
    headers = dict[str, str]()
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="starling"'
    return _problem(error.kind, error.status, str(error), headers)


def document(error: RequestError) -> Problem:
    """`error` as an event of a stream, whose status was already sent."""
    return _document(error.kind, error.status, str(error))


def internal() -> Response:
    """The response after an internal failure."""
    return _problem("internal", 500, "The server failed on this request: see its log.")


def _problem(kind: str, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = _document(kind, status, detail).model_dump_json()
    return Response(body, status, headers, media_type="application/problem+json")


def _document(kind: str, status: int, detail: str) -> Problem:
    return Problem(type=PROBLEM_TYPE + kind, title=HTTPStatus(status).phrase, status=status, detail=detail)


def shortened(name: str) -> str:
    """A client's name or header for a message, shortened and escaped."""
    return printable(name if len(name) <= MOST_NAME else f"{name[:MOST_NAME]}...")


async def _invalid(_: Request, error: Exception) -> Response:
    first = cast(RequestValidationError, error).errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    where = shortened(where)  # the name of an unknown field is the client's
    return _problem("invalid-request", 422, f"{where}: {_fault(first)}; see /openapi.json for what is accepted.")


def _fault(entry: dict[str, Any]) -> str:
    """What is wrong with one field: what is expected, and what was sent, without the text of a document."""
    said = str(entry["msg"]).removeprefix("Value error, ")
    if entry["type"] in {"missing", "value_error", "too_long"}:
        return said
    if entry["type"] == "extra_forbidden":
        return "there is no such field, so correct its name or leave it out"
    if entry["type"] == "model_attributes_type":
        said = "Input should be a JSON object"
    return f"{said} ({_sent(entry.get('input'))} was sent)"


def _sent(value: object) -> str:
    match value:
        case list():
            return "a list"
        case dict():
            return "an object"
        case str() if len(value) > MOST_SENT:
            return "a long string"
        case _:
            return json.dumps(value)[:MOST_SENT]


async def _http_error(_: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    detail = {
        404: "There is nothing at this address: /openapi.json lists the addresses.",
        405: "This address does not accept that method: /openapi.json lists the methods of each address.",
        408: f"The body was incomplete after {BODY_SECONDS:.0f} seconds: send it without pauses.",
        413: f"The body is over {MAX_BODY >> 20} MB: send less of the document around the cursor.",
    }.get(error.status_code, str(error.detail))
    close = {"connection": "close"} if error.status_code == HTTPStatus.REQUEST_TIMEOUT else {}  # RFC 9110, 15.5.9
    return _problem("http-error", error.status_code, detail, {**(error.headers or {}), **close})


async def _request_error(_: Request, error: Exception) -> Response:
    return problem(cast(RequestError, error))


Handler = Callable[[Request, Exception], Awaitable[Response]]
SHAPES = ("/v1/", "/infill")
"""Path prefixes of third-party formats."""


def answer_openai(app: FastAPI) -> None:
    """Add OpenAI's member `error` to the problem documents of `app`'s handlers at paths in `SHAPES`.

    RFC 9457 allows further members (section 3.2).
    """
    for kind, handler in list(app.exception_handlers.items()):
        app.exception_handlers[kind] = _extending(handler)  # pyright: ignore[reportArgumentType]


def error(problem: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's object for a problem document."""
    kind = str(problem["type"]).rpartition(":")[2]
    return {"message": problem["detail"], "type": kind, "param": None, "code": problem["status"]}


def extended(response: Response, path: str) -> Response:
    """`response`, with the member `error` if it is a problem document and `path` is in `SHAPES`."""
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
