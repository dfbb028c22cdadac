"""Type into a file of 300 lines, one request per key: how long an answer takes, and what came from the cache.

    python benchmarks/keystrokes.py [--keys 40] [--adapter NAME_OR_DIR]

A table for people; the last line is JSON. Memory of earlier suggestions is off (no session), so every key asks the
model. The bound is the same model's single forward of one token.
"""

import asyncio
import json
from statistics import median, quantiles
from time import perf_counter

import click
from rich.console import Console
from rich.table import Table

from starling_server import adapters
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.schema import CompleteRequest, CompleteResponse
from starling_server.service import Service
from starling_server.start import start

DOCUMENT = "".join(f"def function_{n}(a, b):\n    return a + {n} * b\n\n" for n in range(100))
TYPED = "def function_new(alpha, beta):\n    return alpha + beta * function_1(alpha, beta)\n"
MAX_TOKENS = 16


async def type_into(service: Service, keys: int) -> list[CompleteResponse]:
    """One answer per key, each asked when the one before has come."""
    at = DOCUMENT.index("def function_50")
    requests = [
        CompleteRequest(prefix=DOCUMENT[:at] + TYPED[:size], suffix=DOCUMENT[at:], max_tokens=MAX_TOKENS)
        for size in range(keys + 1)
    ]
    return [await service.complete(request) for request in requests]


def forward_ms(service: Service) -> float:
    """Median of one-token forwards behind a short prompt."""
    runner = service.model.engine.runner
    cache = runner.open(None)
    times = list[float]()
    for token in range(100, 130):
        started = perf_counter()
        runner.feed(cache, [token])
        times.append((perf_counter() - started) * 1e3)
    return median(times)


@click.command()
@click.option("--base", default="tiny", show_default=True)
@click.option("--adapter", metavar="NAME_OR_DIR")
@click.option("--keys", default=40, show_default=True)
def main(base: str, adapter: str | None, keys: int) -> None:
    """Measure answers per key."""
    service = start(ModelConfig(base), ServiceConfig(prefetch=False), [adapters.find(adapter)] if adapter else [])
    first, *answers = asyncio.run(type_into(service, keys))
    times = [answer.timings.total_ms for answer in answers]
    usages = [answer.usage for answer in answers]
    figures = {
        "base": base,
        "keys": keys,
        "prompt_tokens": usages[-1].prompt_tokens,
        "first_ms": round(first.timings.total_ms, 1),
        "key_p50_ms": round(median(times), 1),
        "key_p90_ms": round(quantiles(times, n=10)[-1], 1),
        "forward_ms": round(forward_ms(service), 2),
        "cached_share": round(sum(u.cached_tokens for u in usages) / sum(u.prompt_tokens for u in usages), 4),
        "tokens_per_answer": round(sum(u.completion_tokens for u in usages) / keys, 1),
    }
    service.close()
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
