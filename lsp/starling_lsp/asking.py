"""One question to whoever answers: wait for another key, let the newest request win, ask, turn trouble into a status.

Latest wins here as well as in the editor: Neovim sends no cancellation while typing, and would show a late reply.
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
"""Clients, by `clientInfo.name` in lower case, that hold requests back until typing pauses (Neovim: 200 ms)."""
LEAST_MS, MOST_MS = 75.0, 150.0
SMOOTHING = 0.3


class Debounce:
    """Adapts to the typist and to the model: about one key's interval, less the time that answers take anyway.

    Never less than `LEAST_MS`: without a wait a slow model would be set to work by every key of a burst.
    """

    def __init__(self, client: str, fixed_ms: int = -1, clock: Callable[[], float] = monotonic) -> None:
        self._fixed = 0 if fixed_ms < 0 and client.lower() in WAITS_ITSELF else fixed_ms
        self._clock = clock
        self._last_key: float | None = None
        self._interval_ms = MOST_MS
        self._answer_ms = 0.0

    def key(self) -> None:
        """Note a request made by typing."""
        now = self._clock()
        if self._last_key is not None:
            self._interval_ms += SMOOTHING * (min((now - self._last_key) * 1e3, MOST_MS) - self._interval_ms)
        self._last_key = now

    def answered(self, milliseconds: float) -> None:
        """Note how long the model took."""
        self._answer_ms += SMOOTHING * (milliseconds - self._answer_ms)

    @property
    def seconds(self) -> float:
        """How long to wait now."""
        if self._fixed >= 0:
            return self._fixed / 1e3
        return max(LEAST_MS, min(self._interval_ms, MOST_MS) - self._answer_ms) / 1e3


class Inflight:
    """The newest request's task per document."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[object]] = {}

    @contextmanager
    def latest(self, uri: str) -> Generator[None]:
        """Run as `uri`'s newest request: an older one's task is cancelled, and so is this one by a newer."""
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
"""After which the status says busy, and that it takes long, and after which nobody waits any more."""
MOST_CHOICES = 3
"""Distinct suggestions for a person who asks for them."""
SAMPLES, TEMPERATURE = 4, 0.8
"""How the others than the best one are drawn."""


class Asking:
    """Asks over a link, for one editor."""

    def __init__(self, link: Link, status: Status, debounce: Debounce) -> None:
        self._link, self._status = link, status
        self.debounce = debounce
        self.answers = self.remembered = 0
        """How many there were, and how many of them needed no model."""
        self.last_ms: float | None = None
        """How long the newest answer of the model took."""

    async def best(self, completer: Completer, request: CompleteRequest, typed: bool) -> CompleteResponse | None:
        """The answer to `request`, None where there is trouble; `typed` is a request that typing made.

        Raises CancelledError where a newer request took over.
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
        """The best answer and up to two others, sampled the same way each time."""
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
            self._link.lost(f"No answer within {LONGEST_SECONDS:g} seconds: looking whether the model is still there.")
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
        """Say that the model is at work where that is to be noticed, and after a while that it takes long."""
        later, tell = asyncio.get_running_loop().call_later, self._status.tell
        soon = later(BUSY_SECONDS, tell, "busy")
        late = later(SLOW_SECONDS, tell, "busy", f"The model has been at it for {SLOW_SECONDS:g} seconds.")
        try:
            yield
        except asyncio.CancelledError:
            tell("ready")
            raise
        finally:
            soon.cancel()
            late.cancel()


def distinct(choices: list[Choice]) -> list[Choice]:
    """The first few that hold something and differ in more than blanks; an empty one where there is none."""
    first = dict[str, Choice]()
    for choice in choices:
        first.setdefault("".join(choice.text.split()), choice)
    kept = [choice for choice in first.values() if choice.text]
    return kept[:MOST_CHOICES] or choices[:1]
