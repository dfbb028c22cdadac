"""Several people at once through one service: tokens a second, waiting times, and what memory all that takes.

    python benchmarks/concurrency.py [--base tiny|1b|DIR] [--runner torch|ggml] [--sessions 1,2,4,8] [--keys 12]
        [--requests 5000]

Each session types in a file of its own; all ask at once and type on when all have their answers, --tokens each. Nothing
is answered from memory (requests name no session), so every key asks the model.

`cursor` is what one cursor keeps between requests, against what the model's shape says: two numbers a layer for every
dimension of every key head, a token. `growth` is the process's memory after --requests short requests of ever new text,
the first tenth of them left out, with a cache that has long been full.
"""

import argparse
import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import ours
import psutil
import shapes
from passages import Passage, passages
from report import last_line, machine, p50, p90, ratio, show

from starling_server.completion.service import Service
from starling_server.config import EngineConfig, ModelConfig
from starling_server.engine.engine import Engine
from starling_server.models import bases, families
from starling_server.schema import CompleteRequest

CACHE_MB = 16
"""While memory is watched: full after a few requests."""


async def ask(service: Service, prefix: str, suffix: str, tokens: int) -> tuple[float, int]:
    """Milliseconds and tokens of one answer."""
    started = perf_counter()
    request = CompleteRequest(prefix=prefix, suffix=suffix, max_tokens=tokens, mode="block")
    answer = await service.complete(request)
    return (perf_counter() - started) * 1e3, answer.usage.completion_tokens


async def together(service: Service, typed: Sequence[Passage], tokens: int) -> dict[str, Any]:
    """One session for each passage; documents are opened first, which is not timed."""
    cursors = [list(passage.cursors()) for passage in typed]
    for opened in cursors:
        await ask(service, *opened[0], tokens)
    answers, seconds = list[tuple[float, int]](), 0.0
    for step in zip(*(keys[1:] for keys in cursors), strict=True):
        started = perf_counter()
        answers += await asyncio.gather(*(ask(service, prefix, suffix, tokens) for prefix, suffix in step))
        seconds += perf_counter() - started
    times = [ms for ms, _ in answers]
    return {
        "tokens_per_second": round(sum(count for _, count in answers) / seconds, 2),
        "p50_ms": round(p50(times), 1),
        "p90_ms": round(p90(times), 1),
        "requests": len(answers),
    }


async def cursor(service: Service, passage: Passage, config: dict[str, Any], size: int) -> dict[str, Any]:
    """Bytes that the first cursor of a new service keeps, and what they should be."""
    prefix, suffix = next(passage.cursors())
    answer = await service.complete(CompleteRequest(prefix=prefix, suffix=suffix, max_tokens=1, mode="block"))
    tokens = answer.usage.prompt_tokens
    of = families.shape(config)
    computed = 2 * of.layers * of.key * size * tokens
    assert isinstance(service.backend.engine, Engine)
    kept = service.backend.engine.prefix_cache.nbytes
    return {"tokens": tokens, "bytes": kept, "computed_bytes": computed, "ratio": ratio(kept, computed)}


def number_bytes(model: ModelConfig, runner: str) -> int:
    """Bytes of one number in a cache: the compute type's, and float16's in llama.cpp."""
    if runner == "ggml":
        return 2
    from starling_server.backends.torch import loading

    return loading.compute_dtype(loading.find_device(model)).itemsize


async def growth(service: Service, requests: int) -> dict[str, Any]:
    """Memory of this process after the first tenth and after all."""
    process, first = psutil.Process(), max(1, requests // 10)
    before = 0
    for number in range(requests):
        await ask(service, f"def number_{number}(a):\n    return a + {number * 7}\n", f"# {number}\n", 2)
        if number + 1 == first:
            before = process.memory_info().rss
    after = process.memory_info().rss
    return {
        "requests": requests,
        "rss_mb_before": round(before / 1e6, 1),
        "rss_mb_after": round(after / 1e6, 1),
        "growth_mb": round((after - before) / 1e6, 1),
    }


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """All figures; a service of its own for throughput and for memory."""
    base, levels = shapes.named(asked.base), list(map(int, asked.sessions.split(",")))
    model = ours.model(base, asked.runner)
    typed = passages(max(levels), asked.keys)
    settings = {"max_tokens": asked.tokens, "context_tokens": asked.context}
    service = ours.endless(ours.service(model, **settings))
    kept = asyncio.run(cursor(service, typed[0], bases.find(base).config, number_bytes(model, asked.runner)))
    found = {str(level): asyncio.run(together(service, typed[:level], asked.tokens)) for level in levels}
    service.close()
    low, high = str(min(levels)), str(max(levels))
    return {
        "sessions": found,
        f"throughput {high}/{low}": ratio(found[high]["tokens_per_second"], found[low]["tokens_per_second"]),
        "cursor": kept,
        "growth": watched(model, asked.requests) if asked.requests else None,
    }


def watched(model: ModelConfig, requests: int) -> dict[str, Any]:
    """`growth` of a service that keeps little."""
    service = ours.service(model, engine=EngineConfig(cache_mb=CACHE_MB))
    try:
        return asyncio.run(growth(service, requests))
    finally:
        service.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--runner", choices=ours.RUNNERS, default="torch")
    parser.add_argument("--sessions", default="1,2,4,8")
    parser.add_argument("--keys", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--context", type=int, default=800)
    parser.add_argument("--requests", type=int, default=5000, help="0 leaves memory out")
    asked = parser.parse_args()
    where = machine()
    found = measure(asked)
    show("sessions at once", found["sessions"])
    show("memory", {"cursor": found["cursor"], "growth": found["growth"] or {}})
    last_line({"benchmark": "concurrency", "base": asked.base, "runner": asked.runner, **found, "machine": where})


if __name__ == "__main__":
    main()
