"""One question to whoever answers: wait for another key, ask, and turn trouble into a status."""

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from starling_lsp.completer import Completer
from starling_lsp.debounce import Debounce
from starling_lsp.link import Link
from starling_lsp.status import Status
from starling_server.errors import ServerUnreachable, StarlingError
from starling_server.schema import Choice, CompleteRequest, CompleteResponse

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
