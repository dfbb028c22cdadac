"""Many users typing through a real `serve-copilot`: waiting times, memory, overload, recovery and log contents.

    python benchmarks/load.py [--clients 64] [--seconds 300] [--overload 10] [--overload-seconds 60] [--base tiny]
        [--serve='FLAGS']

Each client has its own token and its own file of this repository, and types three keys per second on average, with
exponentially distributed pauses (so arrivals are a Poisson process). Documents are opened first, as in Starling's
language server, by a request that only reads the prompt and is not timed. Every key is a request in the client's
session. A client abandons the running request at the next key; it counts as `superseded`, whichever side detected it
first. Then, with `--overload` times as many clients, the server is overloaded: it should answer 503 with Retry-After,
not use more memory, and soon recover.

The load generator runs on the same machine and takes a share of it: `offered_per_second` is the rate that was reached.
At the end the server's log is searched for every token, and for every longer line of the typed code.
"""

import argparse
import asyncio
import os
import random
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from time import monotonic
from typing import Any

import httpx2
import psutil
from passages import ROOT, Passage, passage
from report import last_line, machine, show

KEYS_PER_SECOND = 3.0
SHORTEST_LINE = 16
"""Min characters of a line that is searched for in the log."""
RECOVERED_MS = 1000
"""Max latency of an answer that counts as recovered."""
UNFINISHED = {"superseded", "deadline", "cancelled"}


@dataclass(slots=True)
class Tally:
    """Outcomes of the requests of one phase."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    shown_ms: list[float] = field(default_factory=list[float])
    """Latencies of complete answers, neither superseded nor cut short by a deadline."""
    refused_ms: list[float] = field(default_factory=list[float])
    without_retry: int = 0
    """503 responses without Retry-After."""
    memory: list[int] = field(default_factory=list[int])
    """The server's resident bytes, once per second."""


@dataclass(frozen=True, slots=True)
class Typist:
    """One client."""

    passage: Passage
    session: str
    token: str


async def ask(http: httpx2.AsyncClient, who: Typist, prefix: str, suffix: str, tally: Tally) -> None:
    """One key's request."""
    started = monotonic()
    body = {"prefix": prefix, "suffix": suffix, "language": "python", "session": who.session, "path": who.passage.name}
    try:
        answer = await http.post("/complete", json=body, headers={"authorization": f"Bearer {who.token}"})
    except httpx2.HTTPError as error:
        tally.outcomes[type(error).__name__] += 1
        return
    ms = (monotonic() - started) * 1e3
    if answer.status_code != 200:
        tally.outcomes[str(answer.status_code)] += 1
        tally.refused_ms.append(ms)
        tally.without_retry += answer.status_code == 503 and "retry-after" not in answer.headers
        return
    reason = answer.json()["choices"][0]["finish_reason"]
    tally.outcomes[reason] += 1
    if reason not in UNFINISHED:
        tally.shown_ms.append(ms)


async def type_on(http: httpx2.AsyncClient, who: Typist, until: float, tally: Tally, draw: random.Random) -> None:
    """Type until the time is over; restart at the end of the passage."""
    asked: asyncio.Task[None] | None = None
    while monotonic() < until:
        for prefix, suffix in who.passage.cursors():
            await asyncio.sleep(draw.expovariate(KEYS_PER_SECOND))
            if monotonic() > until:
                break
            if asked is not None and not asked.done():
                asked.cancel()
                tally.outcomes["superseded"] += 1
            asked = asyncio.create_task(ask(http, who, prefix, suffix, tally))
    if asked is not None:
        await asyncio.wait([asked])


async def watch(process: psutil.Process, tally: Tally) -> None:
    """Record the memory once per second."""
    while True:
        tally.memory.append(process.memory_info().rss)
        await asyncio.sleep(1)


async def phase(url: str, typists: Sequence[Typist], seconds: float, process: psutil.Process) -> Tally:
    """All clients typing at once."""
    tally, until = Tally(), monotonic() + seconds
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as http:
        watching = asyncio.create_task(watch(process, tally))
        try:
            typing = (type_on(http, who, until, tally, random.Random(at)) for at, who in enumerate(typists))
            await asyncio.gather(*typing)
        finally:
            watching.cancel()
    return tally


async def recovery(url: str, who: Typist) -> float:
    """Seconds until an answer arrives within RECOVERED_MS again."""
    started = monotonic()
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        for prefix, suffix in who.passage.cursors():
            tally = Tally()
            await ask(http, who, prefix, suffix, tally)
            if tally.shown_ms and tally.shown_ms[0] < RECOVERED_MS and not tally.refused_ms:
                break
    return monotonic() - started


def figures(tally: Tally, seconds: float) -> dict[str, Any]:
    """Figures of one phase."""
    all_of_them = sum(tally.outcomes.values())
    known = {"superseded", "503", "429"}
    errors = sum(n for name, n in tally.outcomes.items() if name not in known and (name[0].isupper() or name.isdigit()))
    cuts = quantiles(tally.shown_ms, n=100, method="inclusive") if len(tally.shown_ms) > 1 else [0.0] * 99
    quarter = max(1, len(tally.memory) // 4)
    return {
        "offered_per_second": round(all_of_them / seconds, 1),
        "requests": all_of_them,
        "answers": len(tally.shown_ms),
        "p50_ms": round(cuts[49], 1),
        "p90_ms": round(cuts[89], 1),
        "p99_ms": round(cuts[98], 1),
        "deadline_share": round(tally.outcomes["deadline"] / max(all_of_them, 1), 4),
        "superseded_share": round(tally.outcomes["superseded"] / max(all_of_them, 1), 4),
        "refused_503": tally.outcomes["503"],
        "refused_429": tally.outcomes["429"],
        "503_without_retry_after": tally.without_retry,
        "refusal_p50_ms": round(median(tally.refused_ms), 1) if tally.refused_ms else None,
        "errors": errors,
        "rss_mb_first_quarter": round(median(tally.memory[:quarter]) / 1e6, 1),
        "rss_mb_last_quarter": round(median(tally.memory[-quarter:]) / 1e6, 1),
        "rss_mb_most": round(max(tally.memory) / 1e6, 1),
        "outcomes": dict(tally.outcomes.most_common()),
    }


def typists(count: int, keys: int) -> list[Typist]:
    """Clients with a file of this repository each, longest first; with more clients than files, files are shared."""
    files = sorted(
        [file for part in ("server", "training", "lsp", "tests") for file in (ROOT / part).rglob("*.py")],
        key=lambda file: (-file.stat().st_size, file),
    )[:64]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    opened = [passage(str(file.relative_to(ROOT)), text, keys) for file, text in texts.items()]
    return [Typist(opened[n % len(opened)], f"load-{n}", secrets.token_urlsafe()) for n in range(count)]


@contextmanager
def serving(folder: Path, who: Sequence[Typist], *flags: str) -> Generator[tuple[str, psutil.Process, Path]]:
    """A serve-copilot with these clients' tokens: address, process, log. SIGTERM must end it with status 0."""
    tokens, log = folder / "tokens", folder / "log"
    tokens.touch(mode=0o600)
    tokens.write_text("".join(f"client-{n}:{each.token}\n" for n, each in enumerate(who)), encoding="utf-8")
    command = [sys.executable, "-m", "starling_server", "--port", "0", "--token-file", str(tokens), *flags]
    environment = {**os.environ, "STARLING_DATA_DIR": str(folder / "data")}
    with (
        log.open("wb") as stream,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("Listening on "), log.read_text()
        try:
            yield said.removeprefix("Listening on ").strip(), psutil.Process(process.pid), log
        finally:
            process.terminate()
            status = process.wait(30)
    assert status == 0, f"SIGTERM ended the server with status {status}"


def leaks(log: Path, who: Sequence[Typist]) -> dict[str, int]:
    """Counts of tokens and of lines of sent code in the log."""
    text = log.read_text(encoding="utf-8", errors="replace")
    passages = {each.passage.name: each.passage for each in who}.values()
    lines = {
        line.strip()
        for each in passages
        for part in (each.before, "".join(each.keys), each.after)
        for line in part.splitlines()
        if len(line.strip()) >= SHORTEST_LINE
    }
    return {
        "log_lines": text.count("\n"),
        "tokens_in_log": sum(each.token in text for each in who),
        "code_lines_searched": len(lines),
        "code_lines_in_log": sum(line in text for line in lines),
    }


async def open_documents(url: str, typists: Sequence[Typist]) -> None:
    """Let the server read every prompt once."""
    async with httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
        for who in typists:
            prefix, suffix = next(who.passage.cursors())
            body = {"prefix": prefix, "suffix": suffix, "session": who.session, "max_tokens": 0, "deadline_ms": 60_000}
            await http.post("/complete", json=body, headers={"authorization": f"Bearer {who.token}"})


async def measure(asked: argparse.Namespace, url: str, process: psutil.Process, who: list[Typist]) -> dict[str, Any]:
    """Both phases and the recovery."""
    await open_documents(url, who[: asked.clients])
    calm = await phase(url, who[: asked.clients], asked.seconds, process)
    found: dict[str, Any] = {"calm": figures(calm, asked.seconds)}
    if asked.overload:
        crowd = await phase(url, who, asked.overload_seconds, process)
        found["overload"] = figures(crowd, asked.overload_seconds)
        found["recovery_seconds"] = round(await recovery(url, who[0]), 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--overload", type=int, default=10, help="times as many clients; 0 leaves it out")
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--serve", default="", help="further flags of serve-copilot")
    asked = parser.parse_args()
    where = machine()
    keys = round(asked.seconds * KEYS_PER_SECOND) + 1
    who = typists(asked.clients * max(1, asked.overload), keys)
    with tempfile.TemporaryDirectory() as folder:
        with serving(Path(folder), who, "--base", asked.base, *shlex.split(asked.serve)) as (url, process, log):
            found = asyncio.run(measure(asked, url, process, who))
        found["log"] = leaks(log, who)
    show("load", {name: found[name] for name in ("calm", "overload") if name in found})
    show("log", {"log": found["log"]})
    last_line(
        {
            "benchmark": "load",
            "base": asked.base,
            "clients": asked.clients,
            "serve": asked.serve,
            **found,
            "machine": where,
        }
    )


if __name__ == "__main__":
    main()
