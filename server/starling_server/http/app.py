"""The application: its routes, and what stands around them."""

from typing import Any

from fastapi import FastAPI

from starling_server import __version__
from starling_server.http.complete import Api
from starling_server.http.idle import Noted
from starling_server.http.limits import MAX_BODY, BodyLimit
from starling_server.http.problems import PROBLEMS, answer_problems
from starling_server.schema import CompleteResponse


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
    app.add_middleware(Noted, activity=api.activity)
    answer_problems(app)
    answers: dict[int | str, dict[str, Any]] = {200: {"model": CompleteResponse}, **PROBLEMS}
    app.add_api_route("/complete", api.complete, methods=["POST"], response_model=None, responses=answers)
    app.add_api_route("/health", api.health)
    app.add_api_route("/ready", api.ready, responses={503: PROBLEMS[503]})
    return app
