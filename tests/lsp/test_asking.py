"""A model that takes its time: what the status says meanwhile, and when nobody waits any more."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from starling_lsp import asking
from starling_lsp.answering.completer import Completer
from starling_lsp.answering.link import Link
from starling_lsp.asking import Asking, Debounce
from starling_lsp.options import Options
from starling_lsp.status import Status
from starling_server.schema import Choice, CompleteRequest, CompleteResponse, Timings, Usage

SERVER = Options(server="http://127.0.0.1:9")


class Slow:
    """Answers after some seconds."""

    base, adapter, device, generations = "slow", None, "nowhere", None

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def adapter_of(self, around: Sequence[Path]) -> str | None:
        return None

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        await asyncio.sleep(self._seconds)
        choice = Choice(text="at last", finish_reason="stop")
        return CompleteResponse(
            id="1", base="slow", adapter=None, choices=[choice], usage=Usage(prompt_tokens=1), timings=Timings()
        )

    def remembers(self, request: CompleteRequest) -> bool:
        return False

    async def close(self) -> None:
        pass


async def there(link: Link) -> Completer:
    """What answers, within a turn or two of the loop."""
    while link.completer is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return link.completer


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, ["loading", "ready", "ready"]),
        (0.15, ["loading", "ready", "busy", "ready"]),
        (0.35, ["loading", "ready", "busy", "busy", "ready"]),
        (9.0, ["loading", "ready", "busy", "busy", "error", "ready"]),
    ],
)
async def test_status_while_it_takes_long(seconds: float, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one is given up on, and the server is found again at once."""
    for name, value in (("BUSY_SECONDS", 0.05), ("SLOW_SECONDS", 0.25), ("LONGEST_SECONDS", 1.0)):
        monkeypatch.setattr(asking, name, value)
    statuses = list[dict[str, Any]]()
    status = Status(lambda _, params: statuses.append(params))

    async def connect(options: Options, roots: Sequence[Path]) -> Completer:
        return Slow(seconds)

    @asynccontextmanager
    async def unseen() -> AsyncGenerator[None]:
        yield

    link = Link(status, unseen, connect)
    await link.open(SERVER, [])
    asked = Asking(link, status, Debounce("Neovim"))
    answer = await asked.best(await there(link), CompleteRequest(prefix=""), typed=True)
    await there(link)
    assert (answer is None) == (seconds > 1)
    kinds = [each["kind"] for each in statuses]
    assert kinds == said
    await link.close()
