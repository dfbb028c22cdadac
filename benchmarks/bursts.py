"""Burst typing, without waiting for answers: latency of the last key, and the cost of all keys.

The measurement is described in `keystrokes.py` under `--burst`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import httpx2
import llama_server
import ours
import psutil
from passages import Passage
from report import p50, p90, ratio
from sides import SECONDS, Answer, Setting, Side, llama

from starling_server.client import Client
from starling_server.models import bases
from starling_server.schema import CompleteRequest

LOOK_AGAIN = 0.1
"""Seconds after which llama.vim checks again whether the previous request has ended."""
SETTLE = 1.0
"""Seconds after the last answer during which work on abandoned requests still counts."""


@dataclass(frozen=True, slots=True)
class Burst:
    """One passage typed."""

    last_ms: float
    """From the last key to its answer."""
    cpu_seconds: float
    tokens: int
    """Tokens of the last answer; 0 if it came from the answer cache."""


class Typist(Protocol):
    """Types a burst: requests a completion at every cursor in turn; returns the last answer and its milliseconds."""

    async def __call__(self, side: Side, cursors: Sequence[tuple[str, str]], pause: float) -> tuple[Answer, float]:
        """Start at once, with the first cursor as the first key."""
        ...


@dataclass(frozen=True, slots=True)
class Served:
    """Starling over HTTP, with a session for each document."""

    client: Client
    tokens: int

    async def ask(self, prefix: str, suffix: str) -> Answer:
        """Request a completion; a newer request for the same document supersedes this one."""
        request = CompleteRequest(
            prefix=prefix, suffix=suffix, max_tokens=self.tokens, mode="block", session=str(hash(suffix))
        )
        started = perf_counter()
        used = (await self.client.complete(request)).usage
        ms = (perf_counter() - started) * 1e3
        return Answer(ms, used.completion_tokens, used.prompt_tokens, used.prompt_tokens - used.cached_tokens)


async def superseding(side: Side, cursors: Sequence[tuple[str, str]], pause: float) -> tuple[Answer, float]:
    """Every key sends a request; the server cancels the superseded ones."""
    tasks = list[asyncio.Task[Answer]]()
    async for cursor in paced(cursors, pause):
        tasks.append(asyncio.create_task(side.ask(*cursor)))
    sent = perf_counter()
    last = await tasks[-1]
    ms = (perf_counter() - sent) * 1e3
    await asyncio.gather(*tasks)
    return last, ms


async def closing(side: Side, cursors: Sequence[tuple[str, str]], pause: float) -> tuple[Answer, float]:
    """Every key sends a request, after closing the previous request's connection."""
    task: asyncio.Task[Answer] | None = None
    async for cursor in paced(cursors, pause):
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        task = asyncio.create_task(side.ask(*cursor))
    assert task is not None
    sent = perf_counter()
    return await task, (perf_counter() - sent) * 1e3


async def waiting(side: Side, cursors: Sequence[tuple[str, str]], pause: float) -> tuple[Answer, float]:
    """llama.vim's rule: no request is sent while one is running; the newest key tries again 100 ms later."""
    running: asyncio.Task[Answer] | None = None
    retry: asyncio.Task[asyncio.Task[Answer]] | None = None

    async def once_free(cursor: tuple[str, str]) -> asyncio.Task[Answer]:
        while True:
            if running is None or running.done():
                return asyncio.create_task(side.ask(*cursor))
            await asyncio.sleep(LOOK_AGAIN)

    async for cursor in paced(cursors, pause):
        if retry is not None:
            running, retry = _overtaken(retry, running), None
        retry = asyncio.create_task(once_free(cursor))
        await asyncio.sleep(0)
    sent = perf_counter()
    assert retry is not None
    return await (await retry), (perf_counter() - sent) * 1e3


def _overtaken(
    retry: "asyncio.Task[asyncio.Task[Answer]]", running: "asyncio.Task[Answer] | None"
) -> "asyncio.Task[Answer] | None":
    """The request that is running when another key is typed: that of the older key, if it was sent."""
    if retry.done():
        return retry.result()
    retry.cancel()
    return running


async def paced(cursors: Sequence[tuple[str, str]], pause: float) -> AsyncGenerator[tuple[str, str]]:
    """Each cursor at its scheduled time, regardless of how long the previous one took."""
    began = perf_counter()
    for number, cursor in enumerate(cursors):
        await asyncio.sleep(max(0.0, began + number * pause - perf_counter()))
        yield cursor


def processor_seconds(pid: int) -> float:
    """CPU seconds of a process and its children since their start."""
    process = psutil.Process(pid)
    spent = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(times.user + times.system for times in spent)


async def typed(side: Side, typist: Typist, pid: int, passage: Passage, pause: float) -> Burst:
    """Open the document and read the prompt, then type the burst."""
    first, *cursors = passage.cursors()
    await side.ask(*first)
    before = processor_seconds(pid)
    answer, ms = await typist(side, cursors, pause)
    await asyncio.sleep(SETTLE)
    return Burst(ms, processor_seconds(pid) - before, answer.tokens)


def measure(names: Sequence[str], setting: Setting, passages: Sequence[Passage], pause: float) -> dict[str, Any]:
    """Measure each side in turn, in a process of its own that ends before the next one, to free its memory."""
    rows, skipped = dict[str, dict[str, Any]](), dict[str, str]()
    for name, typist in [pair for asked in names for pair in _typists(asked)]:
        side = "infill" if name == "waiting" else name
        if side == "generate":
            skipped[name] = "transformers.generate has no server"
            continue
        try:
            with _process(side, setting) as (connected, pid):
                bursts = asyncio.run(_all(connected, typist, pid, passages, pause))
            rows[name] = figures(bursts)
        except ours.Missing as missing:
            skipped[name] = str(missing)
    return {"sides": rows, "ratios": _ratios(rows), "skipped": skipped, "pause_ms": pause * 1e3}


def figures(bursts: Sequence[Burst]) -> dict[str, Any]:
    """Figures of one side."""
    return {
        "last_p50_ms": round(p50([burst.last_ms for burst in bursts]), 1),
        "last_p90_ms": round(p90([burst.last_ms for burst in bursts]), 1),
        "cpu_s_per_burst": round(p50([burst.cpu_seconds for burst in bursts]), 2),
        "tokens_per_answer": round(sum(burst.tokens for burst in bursts) / len(bursts), 1),
        "from_memory": sum(burst.tokens == 0 for burst in bursts),
        "bursts": len(bursts),
    }


def _typists(name: str) -> list[tuple[str, Typist]]:
    if name in ours.RUNNERS:
        return [(name, superseding)]
    return [(name, closing), ("waiting", waiting)] if name == "infill" else [(name, closing)]


Connect = Callable[[], Any]


@contextmanager
def _process(name: str, setting: Setting) -> Generator[tuple[Connect, int]]:
    """A function that connects to a serving process (inside an event loop), and the process id."""
    if name in ours.RUNNERS:
        more = {"base": setting.base, "context_tokens": str(setting.context), "max_tokens": str(setting.tokens)}
        flags = ours.flags(name, **more, ggml_type=setting.gguf_type, no_prefetch="", no_drafts="")
        with ours.serving(*flags) as (url, pid):
            yield lambda: _served(url, setting), pid
        return
    assert setting.gguf is not None
    with llama_server.serving(setting.gguf, bases.find(setting.base).context) as (url, pid):
        yield lambda: _llama(name, url, setting), pid


@asynccontextmanager
async def _served(url: str, setting: Setting) -> AsyncGenerator[Side]:
    async with Client(url) as client:
        yield Served(client, setting.tokens)


@asynccontextmanager
async def _llama(name: str, url: str, setting: Setting) -> AsyncGenerator[Side]:
    async with httpx2.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as client:
        yield llama(name, setting, client)


async def _all(connect: Connect, typist: Typist, pid: int, passages: Sequence[Passage], pause: float) -> list[Burst]:
    async with connect() as side:
        return [await typed(side, typist, pid, passage, pause) for passage in passages]


def _ratios(rows: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    return {
        f"{mine}/{peer} {field}": ratio(rows[mine][field], rows[peer][field])
        for mine in rows if mine in ours.RUNNERS
        for peer in rows if peer not in ours.RUNNERS
        for field in ("last_p50_ms", "cpu_s_per_burst")
    }  # fmt: skip
