"""The application: its routes, and what stands around them."""

from typing import Any

from fastapi import FastAPI

from starling_server import __version__
from starling_server.http.complete import Api
from starling_server.http.completions import Completions
from starling_server.http.completions_wire import Completion
from starling_server.http.events import Events
from starling_server.http.infill import Infill, InfillResponse, Selected
from starling_server.http.limits import MAX_BODY, BodyLimit
from starling_server.http.models import Models
from starling_server.http.openai_errors import answer_openai
from starling_server.http.page import serve_page
from starling_server.http.problems import PROBLEMS, answer_problems
from starling_server.schema import CompleteResponse

Answers = dict[int | str, dict[str, Any]]


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
    answer_problems(app)
    answer_openai(app)
    _post(app, "/complete", api.complete, answers(CompleteResponse))
    _post(app, "/v1/completions", Completions(api).create, answers(Completion))
    _post(app, "/infill", Infill(api).create, answers(InfillResponse | Selected))
    models, events = Models(api), Events(api)
    app.add_api_route("/v1/models", models.every, responses={503: PROBLEMS[503]})
    app.add_api_route("/v1/models/{name:path}", models.one, responses=PROBLEMS)
    _post(app, "/v1/events", events.count, {204: {"description": "Counted."}, **PROBLEMS}, 204)
    app.add_api_route("/health", api.health)
    app.add_api_route("/ready", api.ready, responses={503: PROBLEMS[503]})
    app.state.events = events
    serve_page(app)
    return app


def answers(model: Any) -> Answers:
    """What a route that suggests may answer: JSON of this model, events of a stream, or a problem document."""
    event = {"type": "object", "properties": {"event": {"type": "string"}, "data": {"type": "string"}}}
    streamed = {"text/event-stream": {"schema": event}}
    return {200: {"model": model, "content": streamed}, **PROBLEMS}


def _post(app: FastAPI, path: str, method: Any, responses: Answers, status: int = 200) -> None:
    app.add_api_route(path, method, methods=["POST"], response_model=None, responses=responses, status_code=status)
