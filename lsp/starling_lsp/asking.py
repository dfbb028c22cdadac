"""Requests to the model: debounce, cancel older requests of the document, send, and report errors as status.

Older requests are cancelled here even if the editor does not: Neovim sends no cancellation while typing, and would show
a late reply.
"""

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic, perf_counter

from starling_lsp.answering.completer import Completer
from starling_lsp.answering.link import Link
from starling_lsp.status import Status
from starling_server.errors import ServerUnreachable, StarlingError
from starling_server.schema import Choice, CompleteRequest, CompleteResponse

WAITS_ITSELF = ("neovim",)
"""Clients that debounce requests themselves (Neovim: 200 ms), by `clientInfo.name` in lower case."""
LEAST_MS, MOST_MS = 75.0, 150.0
SMOOTHING = 0.3


class Debounce:
    """Adaptive delay: the mean interval between keys, minus the mean time of a reply.

    The delay is at least `LEAST_MS`; without it, every key of a burst would send a request to a slow model.
    """

    def __init__(self, client: str, fixed_ms: int = -1, clock: Callable[[], float] = monotonic) -> None:
        self._fixed = 0 if fixed_ms < 0 and client.lower() in WAITS_ITSELF else fixed_ms
        self._clock = clock
        self._last_key: float | None = None
        self._interval_ms = MOST_MS
        self._answer_ms = 0.0

    def key(self) -> None:
        """Record a request caused by typing."""
        now = self._clock()
        if self._last_key is not None:
            self._interval_ms += SMOOTHING * (min((now - self._last_key) * 1e3, MOST_MS) - self._interval_ms)
        self._last_key = now

    def answered(self, milliseconds: float) -> None:
        """Record the time of a model reply."""
        self._answer_ms += SMOOTHING * (milliseconds - self._answer_ms)

    @property
    def seconds(self) -> float:
        """Current delay in seconds."""
        if self._fixed >= 0:
            return self._fixed / 1e3
        return max(LEAST_MS, min(self._interval_ms, MOST_MS) - self._answer_ms) / 1e3


class Inflight:
    """The task of each document's newest request."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[object]] = {}

    @contextmanager
    def latest(self, uri: str) -> Generator[None]:
        """Register the current task as `uri`'s newest request, and cancel the task of the previous one."""
        task = asyncio.current_task()
        assert task is not None
        older = self._tasks.get(uri)
        if older is not None:
            older.cancel()
        self._tasks[uri] = task
        try:
            yield
        finally:
            if self._tasks.get(uri) is task:
                del self._tasks[uri]


log = logging.getLogger(__name__)
BUSY_SECONDS, SLOW_SECONDS, LONGEST_SECONDS = 0.1, 3.0, 20.0
"""Delays until the status is busy, until its message reports a slow model, and until the request times out."""
MOST_CHOICES = 3
"""Max number of distinct suggestions for an explicit request."""
SAMPLES, TEMPERATURE = 4, 0.8
"""Number of samples and temperature for alternative suggestions."""


class Asking:
    """Sends one editor's requests over a link."""

    def __init__(self, link: Link, status: Status, debounce: Debounce) -> None:
        self._link, self._status = link, status
        self.debounce = debounce
        self.answers = self.remembered = 0
        """Number of replies, and number of those that needed no model."""
        self.last_ms: float | None = None
        """Time of the model's last reply in milliseconds."""

    async def best(self, completer: Completer, request: CompleteRequest, typed: bool) -> CompleteResponse | None:
        """The reply to `request`, None after an error; `typed` marks a request caused by typing.

        Raises CancelledError if a newer request superseded this one.
        """
        if typed and not completer.remembers(request):
            self.debounce.key()
            await asyncio.sleep(self.debounce.seconds)
        started = perf_counter()
        response = await self._ask(completer, request)
        if response is not None and response.choices[0].finish_reason in ("superseded", "cancelled"):
            raise asyncio.CancelledError
        if response is not None:
            self._count(response, (perf_counter() - started) * 1e3)
        return response

    def _count(self, response: CompleteResponse, milliseconds: float) -> None:
        self.answers += 1
        if response.usage.prompt_tokens:
            self.last_ms = milliseconds
            self.debounce.answered(milliseconds)
        else:
            self.remembered += 1

    async def several(self, completer: Completer, request: CompleteRequest) -> CompleteResponse | None:
        """The best suggestion and up to two alternatives, sampled with a fixed seed."""
        response = await self.best(completer, request, typed=False)
        if response is None:
            return None
        more = request.model_copy(update={"n": SAMPLES, "temperature": TEMPERATURE, "seed": 0})
        others = await self.best(completer, more, typed=False)
        choices = distinct([*response.choices, *(others.choices if others else [])])
        return response.model_copy(update={"choices": choices})

    async def _ask(self, completer: Completer, request: CompleteRequest) -> CompleteResponse | None:
        try:
            with self._busy():
                async with asyncio.timeout(LONGEST_SECONDS):
                    response = await completer.complete(request)
        except TimeoutError:
            self._link.lost(f"No answer within {LONGEST_SECONDS:g} seconds: checking whether the model still responds.")
        except ServerUnreachable as error:
            log.warning("%s", error)
            self._link.lost(str(error))
        except StarlingError as error:
            log.warning("%s", error)
            self._status.tell("error", str(error))
        except Exception:
            log.exception("a completion failed")
            self._status.tell("error", "A suggestion failed: see the language server's log.")
        else:
            self._status.serves(response.base, response.adapter)
            self._status.tell("ready")
            return response
        return None

    @contextmanager
    def _busy(self) -> Generator[None]:
        """Report the status busy after a noticeable delay, and a slow model after a longer one."""
        later, tell = asyncio.get_running_loop().call_later, self._status.tell
        soon = later(BUSY_SECONDS, tell, "busy")
        late = later(SLOW_SECONDS, tell, "busy", f"No answer for {SLOW_SECONDS:g} seconds.")
        try:
            yield
        except asyncio.CancelledError:
            tell("ready")
            raise
        finally:
            soon.cancel()
            late.cancel()


def distinct(choices: list[Choice]) -> list[Choice]:
    """The first non-empty choices that differ in more than whitespace; if all are empty, the first one."""
    first = dict[str, Choice]()
    for choice in choices:
        first.setdefault("".join(choice.text.split()), choice)
    kept = [choice for choice in first.values() if choice.text]
    return kept[:MOST_CHOICES] or choices[:1]
