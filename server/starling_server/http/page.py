"""The page at `/`, where a person tries the model in a browser. Its files are built from `server/page`."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

BUILT = Path(__file__).parents[1] / "page"
"""index.html, page.js and page.css: all of it, nothing comes from elsewhere."""


def serve_page(app: FastAPI) -> None:
    """Answer `/` and `/page/...`; neither is part of the document of the API."""
    app.add_api_route("/", index, include_in_schema=False, response_class=FileResponse)
    app.mount("/page", StaticFiles(directory=BUILT))


async def index() -> FileResponse:
    """The page itself, looked for anew each time: it names its files without versions."""
    return FileResponse(BUILT / "index.html", headers={"cache-control": "no-cache"})
