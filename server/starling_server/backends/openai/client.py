"""Another server that computes for this one: OpenAI's `/v1/completions`, streamed; closing a stream stops its work.

vLLM, SGLang, llama-server and our own server take the prompt as ids, so what the model sees is what our own engine
would feed it, to the token. Everything here runs on an event loop in a thread of its own, since the worker's thread
waits for several streams at once.
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
"""A suggestion is worth a few hundred milliseconds of waiting, not more."""
FAILURES, OPEN_SECONDS = 3, 2.0
"""So many failures in a row, and nothing is asked for so long."""
CHECK_SECONDS, CHECKED_SECONDS = 2.0, 1.0
"""How long the list of models may take, and how long a check holds, however many ask `/ready`."""


class Transient(UpstreamDown):
    """A failure that another try may mend."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One completion, as the other server is asked for it."""

    model: str
    prompt: list[int]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop_ids: list[int]
    salt: str
    """Of the client whose text this is; nobody else has the same."""

    def body(self) -> dict[str, Any]:
        """OpenAI's fields, and vLLM's and SGLang's `stop_token_ids` and `cache_salt`, which others do not look at."""
        drawn = {"seed": self.seed} if self.seed is not None else {}
        return {
            "model": self.model, "prompt": self.prompt, "max_tokens": self.max_tokens, "temperature": self.temperature,
            "top_p": self.top_p, **drawn, "stop_token_ids": self.stop_ids, "cache_salt": self.salt,
            "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip


@dataclass(slots=True)
class News:
    """What a stream has brought since it was last looked at."""

    texts: list[str] = field(default_factory=list)
    ended: bool = False
    error: RequestError | None = None
    finish: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)


class Breaker:
    """Lets nothing through for `OPEN_SECONDS` after `FAILURES` in a row; then one try at a time, until one works."""

    def __init__(self) -> None:
        self._failures, self._until = 0, 0.0

    def check(self, name: str) -> None:
        """Raise UpstreamDown while nothing is let through."""
        now = monotonic()
        if self._failures >= FAILURES and now < self._until:
            raise UpstreamDown(f"{name} does not answer: start it again, or try again in a moment.")
        self._until = now + OPEN_SECONDS

    def failed(self) -> None:
        """One more in a row."""
        self._failures += 1
        self._until = monotonic() + OPEN_SECONDS

    def worked(self) -> None:
        """All is well."""
        self._failures = 0


class Check:
    """Whether the other server is there, looked at anew when what was last found is too old."""

    def __init__(self, names: Callable[[], Awaitable[object]]) -> None:
        self._names, self._looking = names, asyncio.Lock()
        self._until, self._trouble = 0.0, ""

    async def __call__(self) -> None:
        """Raises UpstreamDown where it is not."""
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
    """One completion under way; made by `Upstream.start`."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._texts: deque[str] = deque()
        self._news = News()
        self.task: asyncio.Task[None] | None = None

    def has_news(self) -> bool:
        """Whether `take` would bring anything; only with the condition held."""
        return bool(self._texts) or self._news.ended

    def take(self) -> News:
        """What came since the last time."""
        with self._changed:
            news = replace(self._news, texts=list(self._texts))
            self._texts.clear()
            return news

    def heard(self, event: dict[str, Any]) -> None:
        """Take note of one event; raises UpstreamDown where it tells an error."""
        if "error" in event:
            raise UpstreamDown(f"The server that computes failed: {_said(event)}.")
        with self._changed:
            self._news.usage = event.get("usage") or self._news.usage
            for choice in event.get("choices") or []:
                self._news.finish = choice.get("finish_reason") or self._news.finish
                self._texts.append(choice.get("text") or "")
            self._changed.notify_all()

    def end(self, error: RequestError | None = None) -> None:
        """Nothing more will come."""
        with self._changed:
            self._news.ended, self._news.error = True, error
            self._changed.notify_all()


class Upstream:
    """The other server at `url`, whose path `completions` is below."""

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
            raise UsageError(f"--engine {url} is no address ({error}): give openai:http://HOST:PORT/v1.") from error
        self._check = Check(self._names)

    def names(self) -> list[str]:
        """The models that it serves, base and adapters alike; raises UpstreamDown."""
        return self._call(self._names())

    def check(self) -> None:
        """Raise UpstreamDown where it does not list its models within two seconds."""
        self._call(self._check())

    def start(self, wish: Wish) -> Stream:
        """Begin a completion."""
        stream = Stream(self._changed)

        def begin() -> None:
            stream.task = self._loop.create_task(self._hear(stream, wish))

        self._loop.call_soon_threadsafe(begin)
        return stream

    def stop(self, stream: Stream) -> None:
        """Close a completion's connection, which ends the work for it; safe to call twice."""
        self._loop.call_soon_threadsafe(lambda: stream.task and stream.task.cancel())

    def wait(self, streams: Sequence[Stream], seconds: float) -> None:
        """Until one of `streams` has news, or time is up."""
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
        """Everything that the other server says, for the worker's thread."""
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
        """The stream's events, entered into `stack`; tried anew where the connection or the server failed."""
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
        return kind(f"{self.url} answered {response.status_code}{': ' + said if said else ''}; its log says more.")


async def models(http: httpx2.AsyncClient) -> list[str]:
    """Names of the models that an OpenAI server lists; raises what its client and its answer may raise."""
    answer = await http.get("models")
    return [str(model["id"]) for model in answer.raise_for_status().json()["data"]]


def _said(body: Any) -> str:
    """The sentence in an error of OpenAI's shape, or in a problem document."""
    found = body.get("error", body) if isinstance(body, dict) else body
    return str((found.get("message") or found.get("detail") or "") if isinstance(found, dict) else found)[:200]
