"""Client of an upstream inference server: OpenAI's `/v1/completions`, streamed; closing a stream cancels its request.

vLLM, SGLang, llama-server and our own server accept the prompt as token ids, so the model receives exactly the tokens
that our own engine would feed it. The client runs an event loop in its own thread, because the worker thread waits for
several streams at once.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, TypeVar

import httpx2
import stamina

from starling_server.errors import RequestError, UpstreamDown, UsageError

T = TypeVar("T")
CONNECT_SECONDS, SILENT_SECONDS = 2.0, 60.0
TRIES, FIRST_PAUSE, LONGEST_PAUSE = 3, 0.05, 0.2
"""Retry limits, pauses in seconds: a suggestion is worth a wait of a few hundred milliseconds at most."""
FAILURES, OPEN_SECONDS = 3, 2.0
"""The circuit breaker opens after this many consecutive failures, for this many seconds."""
CHECK_SECONDS, CHECKED_SECONDS = 2.0, 1.0
"""Timeout of the model list, and lifetime of a check's result, which all requests to `/ready` share."""


class Transient(UpstreamDown):
    """A failure worth a retry."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Parameters of one completion request to the other server."""

    model: str
    prompt: list[int]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop_ids: list[int]
    salt: str
    """Cache salt, unique to the client that sent the text."""

    def body(self) -> dict[str, Any]:
        """OpenAI's fields, plus `stop_token_ids` and `cache_salt` of vLLM and SGLang, which other servers ignore."""
        drawn = {"seed": self.seed} if self.seed is not None else {}
        return {
            "model": self.model, "prompt": self.prompt, "max_tokens": self.max_tokens, "temperature": self.temperature,
            "top_p": self.top_p, **drawn, "stop_token_ids": self.stop_ids, "cache_salt": self.salt,
            "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip


@dataclass(slots=True)
class News:
    """Output of a stream since the last `Stream.take`."""

    texts: list[str] = field(default_factory=list)
    ended: bool = False
    error: RequestError | None = None
    finish: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)


class Breaker:
    """Circuit breaker: open for `OPEN_SECONDS` after `FAILURES` in a row, then one try at a time until one succeeds."""

    def __init__(self) -> None:
        self._failures, self._until = 0, 0.0

    def check(self, name: str) -> None:
        """Raise UpstreamDown while the breaker is open."""
        now = monotonic()
        if self._failures >= FAILURES and now < self._until:
            raise UpstreamDown(f"{name} does not answer: start it again, or try again in a moment.")
        self._until = now + OPEN_SECONDS

    def failed(self) -> None:
        """Count one more consecutive failure."""
        self._failures += 1
        self._until = monotonic() + OPEN_SECONDS

    def worked(self) -> None:
        """Reset the count of failures."""
        self._failures = 0


class Check:
    """Reachability check of the other server; the result is cached for `CHECKED_SECONDS`."""

    def __init__(self, names: Callable[[], Awaitable[object]]) -> None:
        self._names, self._looking = names, asyncio.Lock()
        self._until, self._trouble = 0.0, ""

    async def __call__(self) -> None:
        """Raise UpstreamDown if the server is not reachable."""
        async with self._looking:
            if monotonic() > self._until:
                self._trouble = await self._look()
                self._until = monotonic() + CHECKED_SECONDS
        if self._trouble:
            raise UpstreamDown(self._trouble)

    async def _look(self) -> str:
        try:
            await self._names()
        except UpstreamDown as error:
            return str(error)
        return ""


class Stream:
    """One completion in progress; created by `Upstream.start`."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._texts: deque[str] = deque()
        self._news = News()
        self.task: asyncio.Task[None] | None = None

    def has_news(self) -> bool:
        """Whether `take` would return anything; call with the condition held."""
        return bool(self._texts) or self._news.ended

    def take(self) -> News:
        """Output since the last call."""
        with self._changed:
            news = replace(self._news, texts=list(self._texts))
            self._texts.clear()
            return news

    def heard(self, event: dict[str, Any]) -> None:
        """Record one event; raises UpstreamDown if it reports an error."""
        if "error" in event:
            raise UpstreamDown(f"The server of --engine failed: {_said(event)}; see its log.")
        with self._changed:
            self._news.usage = event.get("usage") or self._news.usage
            for choice in event.get("choices") or []:
                self._news.finish = choice.get("finish_reason") or self._news.finish
                self._texts.append(choice.get("text") or "")
            self._changed.notify_all()

    def end(self, error: RequestError | None = None) -> None:
        """Mark the stream as finished, or as failed with `error`."""
        with self._changed:
            self._news.ended, self._news.error = True, error
            self._changed.notify_all()


class Upstream:
    """The other server; `url` is the parent of its path `completions`."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.breaker = Breaker()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="starling-upstream", daemon=True)
        self._thread.start()
        try:
            self._http = self._call(self._connect(key))
        except httpx2.InvalidURL as error:
            raise UsageError(f"--engine {url} is not an address ({error}): give openai:http://HOST:PORT/v1.") from error
        self._check = Check(self._names)

    def names(self) -> list[str]:
        """Names of the served models, base and adapters alike; raises UpstreamDown."""
        return self._call(self._names())

    def check(self) -> None:
        """Raise UpstreamDown if the server does not list its models within two seconds."""
        self._call(self._check())

    def start(self, wish: Wish) -> Stream:
        """Start a completion."""
        stream = Stream(self._changed)

        def begin() -> None:
            stream.task = self._loop.create_task(self._hear(stream, wish))

        self._loop.call_soon_threadsafe(begin)
        return stream

    def stop(self, stream: Stream) -> None:
        """Close a completion's connection, which cancels the request on the server; safe to call twice."""
        self._loop.call_soon_threadsafe(lambda: stream.task and stream.task.cancel())

    def wait(self, streams: Sequence[Stream], seconds: float) -> None:
        """Block until one of `streams` has news or `seconds` have passed."""
        with self._changed:
            self._changed.wait_for(lambda: any(stream.has_news() for stream in streams), seconds)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _connect(self, key: str | None) -> httpx2.AsyncClient:
        timeout = httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=None)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx2.AsyncClient(
            base_url=self.url + "/", timeout=timeout, limits=limits, headers=headers, trust_env=False
        )

    async def _names(self) -> list[str]:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await models(self._http)
        except (TimeoutError, httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise UpstreamDown(
                f"No list of models from {self.url}/models ({type(error).__name__}): start the server there, or "
                "correct --engine."
            ) from error

    async def _hear(self, stream: Stream, wish: Wish) -> None:
        """Read the whole response into `stream`, for the worker thread."""
        try:
            self.breaker.check(self.url)
            async with AsyncExitStack() as stack:
                events = await self._opened(stack, wish)
                self.breaker.worked()
                async for event in events:
                    if event.data != "[DONE]":
                        stream.heard(json.loads(event.data))
            stream.end()
        except Transient as error:
            self.breaker.failed()
            stream.end(error)
        except RequestError as error:
            stream.end(error)
        except ValueError:
            stream.end(UpstreamDown(f"{self.url} does not answer as OpenAI's /v1/completions does: correct --engine."))

    async def _opened(self, stack: AsyncExitStack, wish: Wish) -> httpx2.EventSource:
        """The stream's events, entered into `stack`; retried if the connection or the server failed."""
        again = stamina.retry_context(
            on=Transient,
            attempts=TRIES,
            timeout=None,
            wait_initial=FIRST_PAUSE,
            wait_max=LONGEST_PAUSE,
            wait_jitter=0.05,
        )
        async for attempt in again:
            with attempt:
                return await stack.enter_async_context(self._events(wish))
        raise AssertionError  # the last attempt raises

    @asynccontextmanager
    async def _events(self, wish: Wish) -> AsyncGenerator[httpx2.EventSource]:
        try:
            async with self._http.sse("completions", method="POST", json=wish.body()) as events:
                if events.response.is_error:
                    await events.response.aread()
                    raise self._refused(events.response)
                yield events
        except httpx2.HTTPError as error:
            raise Transient(f"{self.url} does not answer ({type(error).__name__}): start it again.") from error

    def _refused(self, response: httpx2.Response) -> UpstreamDown:
        said = ""
        with suppress(ValueError):
            said = _said(response.json())
        kind = Transient if response.status_code >= 500 or response.status_code == 429 else UpstreamDown
        return kind(f"{self.url} answered {response.status_code}{': ' + said if said else ''}; see its log.")


async def models(http: httpx2.AsyncClient) -> list[str]:
    """Names of the models that an OpenAI server lists; errors of the HTTP client and of parsing pass through."""
    answer = await http.get("models")
    return [str(model["id"]) for model in answer.raise_for_status().json()["data"]]


def _said(body: Any) -> str:
    """The message of an error in OpenAI's format, or of a problem document."""
    found = body.get("error", body) if isinstance(body, dict) else body
    return str((found.get("message") or found.get("detail") or "") if isinstance(found, dict) else found)[:200]
