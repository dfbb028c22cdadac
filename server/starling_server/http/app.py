"""The application: its routes, and what stands around them."""

from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from starling_server import __version__
from starling_server.http.complete import Api
from starling_server.http.guard import Access, Guard
from starling_server.http.idle import Noted
from starling_server.http.limits import MAX_BODY, Allowances, BodyLimit
from starling_server.http.operate import Operations
from starling_server.http.problems import PROBLEMS, answer_problems
from starling_server.http.trace import Trace
from starling_server.metrics import Metrics
from starling_server.schema import CompleteResponse


def create_app(api: Api, metrics: Metrics, access: Access, allowances: Allowances) -> FastAPI:
    """The application; it answers `/health` from the start and all else once `api` has its service."""
    app = FastAPI(
        title="Starling",
        version=__version__,
        summary="Code completion that has read your codebase.",
        docs_url=None,  # both pages load their scripts from elsewhere; the document itself is at /openapi.json
        redoc_url=None,
    )
    answer_problems(app)
    answers: dict[int | str, dict[str, Any]] = {200: {"model": CompleteResponse}, **PROBLEMS}
    app.add_api_route("/complete", api.complete, methods=["POST"], response_model=None, responses=answers)
    _operate(app, Operations(api, metrics))
    app.add_middleware(Noted, activity=api.activity)
    _surround(app, metrics, access, allowances)
    return app


def _operate(app: FastAPI, operations: Operations) -> None:
    """The routes for operators."""
    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}, **PROBLEMS}
    adapter: dict[int | str, dict[str, Any]] = {409: PROBLEMS[404], **PROBLEMS}
    app.add_api_route("/health", operations.health, responses=PROBLEMS)
    app.add_api_route("/ready", operations.ready, responses=PROBLEMS)
    app.add_api_route("/metrics", operations.metrics, response_model=None, responses=text)
    app.add_api_route("/v1/adapters", operations.adapters, responses=PROBLEMS)
    app.add_api_route("/v1/adapters/{name}", operations.load, methods=["POST"], responses=adapter)
    app.add_api_route("/v1/adapters/{name}", operations.unload, methods=["DELETE"], status_code=204, responses=adapter)


def _surround(app: FastAPI, metrics: Metrics, access: Access, allowances: Allowances) -> None:
    """What every request passes, innermost first."""
    app.add_middleware(BodyLimit, limit=MAX_BODY)
    app.add_middleware(Guard, access=access, allowances=allowances)
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(access.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(Trace, metrics=metrics)
