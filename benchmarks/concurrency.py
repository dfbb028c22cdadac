"""Several users of one service at once: tokens per second, waiting times and memory.

    python benchmarks/concurrency.py [--base tiny|1b|DIR] [--runner torch|ggml] [--sessions 1,2,4,8] [--keys 12]
        [--requests 5000]

Each session types in a file of its own. All sessions send a request at the same time and type the next key when every
answer, of --tokens each, has arrived. The answer cache is not used (requests name no session), so every key runs the
model.

`cursor` is the memory that one cursor keeps between requests, compared with the size computed from the model's shape:
two numbers per token, layer and dimension of every key head. `growth` is the growth of the process's memory over
--requests short requests with new text each time, without the first tenth of them, with a cache that is already full.
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
from starling_server.models import bases
from starling_server.models.families import table as families
from starling_server.schema import CompleteRequest

CACHE_MB = 16
"""Cache size while memory is measured; full after a few requests."""


async def ask(service: Service, prefix: str, suffix: str, tokens: int) -> tuple[float, int]:
    """Milliseconds and tokens of one answer."""
    started = perf_counter()
    request = CompleteRequest(prefix=prefix, suffix=suffix, max_tokens=tokens, mode="block")
    answer = await service.complete(request)
    return (perf_counter() - started) * 1e3, answer.usage.completion_tokens


async def together(service: Service, typed: Sequence[Passage], tokens: int) -> dict[str, Any]:
    """One session for each passage; opening the documents is not timed."""
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
    """Bytes kept for the first cursor of a new service, measured and computed."""
    prefix, suffix = next(passage.cursors())
    answer = await service.complete(CompleteRequest(prefix=prefix, suffix=suffix, max_tokens=1, mode="block"))
    tokens = answer.usage.prompt_tokens
    of = families.shape(config)
    computed = 2 * of.layers * of.key * size * tokens
    assert isinstance(service.backend.engine, Engine)
    kept = service.backend.engine.prefix_cache.nbytes
    return {"tokens": tokens, "bytes": kept, "computed_bytes": computed, "ratio": ratio(kept, computed)}


def number_bytes(model: ModelConfig, runner: str) -> int:
    """Bytes of one number in a cache: of the compute type, or of float16 in llama.cpp."""
    if runner == "ggml":
        return 2
    from starling_server.backends.torch import device, loading

    return loading.compute_dtype(device.find_device(model)).itemsize


async def growth(service: Service, requests: int) -> dict[str, Any]:
    """Memory of this process after the first tenth of the requests and after all."""
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
    """All figures; throughput and memory are measured on separate services."""
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
    """`growth` of a service with a small cache."""
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
