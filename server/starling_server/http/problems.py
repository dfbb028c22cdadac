"""Errors as RFC 9457 problem documents; none is the model's fault but a 500."""

import logging
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from starling_server.errors import RequestError
from starling_server.http.limits import MAX_BODY
from starling_server.schema import Problem

log = logging.getLogger(__name__)
PROBLEM_TYPE = "urn:starling:problem:"
"""Prefix of problem types: identifiers, not places to look (RFC 9457, 3.1.1)."""
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}} for status in (400, 404, 413, 422, 503)
}
"""What every route may answer, for the OpenAPI document."""


def answer_problems(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(Exception, _internal)


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
        400: "The body is not text in UTF-8: send JSON, see /openapi.json.",
        404: "There is nothing at this address: /openapi.json lists what there is.",
        405: "This address does not take that method: /openapi.json lists what it takes.",
        413: f"The body is over {MAX_BODY >> 20} MB: send less of the document around the cursor.",
    }.get(error.status_code, str(error.detail))
    answer = _problem("http-error", error.status_code, detail)
    answer.headers.update(error.headers or {})  # 405 names the methods in `Allow`
    return answer


async def _request_error(_: Request, error: Exception) -> Response:
    error = cast(RequestError, error)
    answer = _problem(error.kind, error.status, str(error))
    if error.retry_after is not None:
        answer.headers["retry-after"] = str(error.retry_after)
    return answer


async def _internal(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return _problem("internal", 500, "The server failed on this request; its log says why.")
