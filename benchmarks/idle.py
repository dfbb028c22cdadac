"""Idle connections: how many `serve-copilot` holds, their cost, and whether other requests are still answered.

    python benchmarks/idle.py [--connections 10000] [--base tiny]

The connections are opened as fast as the server accepts them and stay silent. While they are open, requests are sent on
a separate connection. The server closes silent connections after a time limit; the script waits for that.
"""

import argparse
import asyncio
import resource
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import psutil
from load import Tally, Typist, ask, serving, typists
from report import last_line, machine, show


def raise_limit(connections: int) -> None:
    """Raise this process's limit on open files; the running server has already raised its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 512
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"the limit of open files is {hard}: ask for fewer"
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def measure(url: str, process: psutil.Process, who: Typist, connections: int) -> dict[str, Any]:
    """Open all connections, send requests, and wait until the connections are closed."""
    import httpx2

    where, before = urlsplit(url), process.memory_info().rss
    started = monotonic()
    opened = [await asyncio.open_connection(where.hostname, where.port) for _ in range(connections)]
    took, tally = monotonic() - started, Tally()
    held = len(process.net_connections("tcp"))
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        for prefix, suffix in list(who.passage.cursors())[:20]:
            await ask(http, who, prefix, suffix, tally)
    most = process.memory_info().rss
    ended = await asyncio.gather(*(reader.read() for reader, _ in opened), return_exceptions=True)
    for _, writer in opened:
        writer.close()
    return {
        "connections": connections,
        "opened_in_seconds": round(took, 2),
        "held_by_server": held,
        "answers_meanwhile": len(tally.shown_ms),
        "slowest_answer_ms": round(max(tally.shown_ms, default=0.0), 1),
        "outcomes": dict(tally.outcomes),
        "kb_each": round((most - before) / connections / 1e3, 1),
        "all_ended_after_seconds": round(monotonic() - started, 1),
        "ended": len(ended),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--connections", type=int, default=10_000)
    asked = parser.parse_args()
    where, who = machine(), typists(1, 40)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), who, "--base", asked.base) as (url, process, _):
        raise_limit(asked.connections)
        found = asyncio.run(measure(url, process, who[0], asked.connections))
    show("idle connections", {"serve-copilot": found})
    last_line({"benchmark": "idle", "base": asked.base, **found, "machine": where})


if __name__ == "__main__":
    main()
