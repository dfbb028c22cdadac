"""The application: its routes and middleware."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from starling_server import __version__
from starling_server.http.admin import Operations
from starling_server.http.body import JsonRoute
from starling_server.http.complete import Api
from starling_server.http.completions import Completions
from starling_server.http.completions_wire import Completion
from starling_server.http.events import Events
from starling_server.http.infill import Infill, InfillResponse, Selected
from starling_server.http.middleware.access import Access, Guard
from starling_server.http.middleware.activity import Noted
from starling_server.http.middleware.framing import Framing
from starling_server.http.middleware.limits import MAX_BODY, Allowances, BodyLimit
from starling_server.http.middleware.metrics import Metrics
from starling_server.http.middleware.problems import PROBLEMS, answer_openai, answer_problems
from starling_server.http.middleware.request_context import Trace
from starling_server.http.models import Models
from starling_server.schema import CompleteResponse

BUILT = Path(__file__).parents[1] / "page"
"""index.html, page.js and page.css: all of it, nothing comes from elsewhere."""


def serve_page(app: FastAPI) -> None:
    """Answer `/` and `/page/...`; neither is part of the document of the API."""
    app.add_api_route("/", index, include_in_schema=False, response_class=FileResponse)
    app.mount("/page", StaticFiles(directory=BUILT))


async def index() -> FileResponse:
    """The page itself, looked for anew each time: it names its files without versions."""
    return FileResponse(BUILT / "index.html", headers={"cache-control": "no-cache"})


Answers = dict[int | str, dict[str, Any]]


def create_app(api: Api, metrics: Metrics, access: Access, allowances: Allowances) -> FastAPI:
    """The application; it answers `/health` from the start and all else once `api` has its service."""
    app = FastAPI(
        title="Starling",
        version=__version__,
        summary="Code completion that has read your codebase.",
        docs_url=None,  # both pages load their scripts from elsewhere; the document itself is at /openapi.json
        redoc_url=None,
    )
    app.router.route_class = JsonRoute
    answer_problems(app)
    answer_openai(app)
    _post(app, "/complete", api.complete, answers(CompleteResponse))
    _post(app, "/v1/completions", Completions(api).create, answers(Completion))
    _post(app, "/infill", Infill(api).create, answers(InfillResponse | Selected))
    models, events = Models(api), Events(api, metrics)
    app.add_api_route("/v1/models", models.every, responses={503: PROBLEMS[503]})
    app.add_api_route("/v1/models/{name:path}", models.one, responses=PROBLEMS)
    _post(app, "/v1/events", events.count, {204: {"description": "Counted."}, **PROBLEMS}, 204)
    serve_page(app)
    _operate(app, Operations(api, metrics))
    app.add_middleware(Noted, activity=api.activity)
    _surround(app, metrics, access, allowances)
    return app


def answers(model: Any) -> Answers:
    """What a route that suggests may answer: JSON of this model, events of a stream, or a problem document."""
    event = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
    streamed = {"text/event-stream": {"schema": event}}
    return {200: {"model": model, "content": streamed}, **PROBLEMS}


def _post(app: FastAPI, path: str, method: Any, responses: Answers, status: int = 200) -> None:
    app.add_api_route(path, method, methods=["POST"], response_model=None, responses=responses, status_code=status)


def _operate(app: FastAPI, operations: Operations) -> None:
    """Operator routes."""
    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}, **PROBLEMS}
    adapter: dict[int | str, dict[str, Any]] = {409: PROBLEMS[404], **PROBLEMS}
    app.add_api_route("/health", operations.health, responses=PROBLEMS)
    app.add_api_route("/ready", operations.ready, responses=PROBLEMS)
    app.add_api_route("/metrics", operations.metrics, response_model=None, responses=text)
    app.add_api_route("/v1/adapters", operations.adapters, responses=PROBLEMS)
    app.add_api_route("/v1/adapters/{name}", operations.load, methods=["POST"], responses=adapter)
    app.add_api_route("/v1/adapters/{name}", operations.unload, methods=["DELETE"], status_code=204, responses=adapter)


def _surround(app: FastAPI, metrics: Metrics, access: Access, allowances: Allowances) -> None:
    """The middleware, innermost first."""
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
    app.add_middleware(Framing)
    app.add_middleware(Trace, metrics=metrics)
