"""A client of `serve-copilot`: what the language server uses with `--server`, and any Python program may. No torch."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Self, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from starling_server import auth
from starling_server.errors import RequestError, ServerUnreachable, Unauthorized, UsageError
from starling_server.schema import CompleteRequest, CompleteResponse, Health, Problem, TextEvent

Model = TypeVar("Model", bound=BaseModel)
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 60.0


class Client:
    """Client of one server; use it as an async context manager, or call `close`. Cancelling a call stops the model."""

    def __init__(self, url: str, token_file: Path | None = None, token: str | None = None) -> None:
        """With `token`, or the one of this user (`auth.own_token`, which reads `token_file`), where there is any.

        Raises UsageError where `url` is none.
        """
        timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self.url = url.rstrip("/")
        auth = _Bearer(token, token_file)
        try:
            self._http = httpx2.AsyncClient(base_url=self.url, timeout=timeout, trust_env=False, auth=auth)
        except httpx2.InvalidURL as error:
            raise UsageError(f"{url} is not an address ({error}): give http://HOST:PORT.") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Answer `request`; raises RequestError with the server's sentence, ServerUnreachable without one."""
        body = _body(request, stream=False)
        return _read(CompleteResponse, await self._send("POST", "/complete", body))

    async def stream(self, request: CompleteRequest) -> AsyncGenerator[TextEvent | CompleteResponse]:
        """Text as it is generated, then the whole answer; raises as `complete` does."""
        body = _body(request, stream=True)
        headers = {"content-type": "application/json"}
        try:
            async with self._http.sse("/complete", method="POST", content=body, headers=headers) as events:
                if events.response.is_error:
                    await events.response.aread()
                    raise _problem(events.response)
                async for event in events:
                    if event.event == "error":
                        raise _told(Problem.model_validate_json(event.data))
                    kind = TextEvent if event.event == "text" else CompleteResponse
                    yield kind.model_validate_json(event.data)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    async def health(self) -> Health:
        """Whether the server is alive."""
        return _read(Health, await self._send("GET", "/health"))

    async def ready(self) -> Health:
        """What it serves; raises RequestError (503) while its model is loading."""
        return _read(Health, await self._send("GET", "/ready"))

    async def _send(self, method: str, path: str, body: str | None = None) -> httpx2.Response:
        headers = {"content-type": "application/json"} if body else None
        try:
            return await self._http.request(method, path, content=body, headers=headers)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        return ServerUnreachable(
            f"No answer from {self.url} ({type(error).__name__}): start serve-copilot there, or correct the address."
        )


class _Bearer(httpx2.Auth):
    """Sends the current token: the file is read for each request, since tokens change."""

    def __init__(self, token: str | None, file: Path | None) -> None:
        self._token, self._file = token, file

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Sign `request`."""
        try:
            token = self._token or auth.own_token(self._file)
        except UsageError as error:
            raise Unauthorized(str(error)) from error
        if token:
            request.headers["authorization"] = f"Bearer {token}"
        yield request


def _body(request: CompleteRequest, stream: bool) -> str:
    """JSON of `request`. A lone surrogate, which an editor may hold during typing, becomes a question mark."""
    whole = {name: _whole(getattr(request, name)) for name in ("prefix", "suffix")}
    unused = None if request.context else {"context"}  # an older server refuses the field
    return request.model_copy(update={"stream": stream, **whole}).model_dump_json(exclude_none=True, exclude=unused)


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _read(kind: type[Model], response: httpx2.Response) -> Model:
    if response.is_error:
        raise _problem(response)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise ServerUnreachable(f"{response.url} is not an address of serve-copilot: correct it.") from error


def _problem(response: httpx2.Response) -> RequestError:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return ServerUnreachable(
            f"{response.url} answered {response.status_code} without a reason: correct the address, "
            "or see that server's log."
        )
    return _told(problem)


def _told(problem: Problem) -> RequestError:
    error = RequestError(problem.detail)
    error.status = problem.status
    return error
