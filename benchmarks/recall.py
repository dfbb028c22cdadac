"""Typing along a suggestion and deleting it again: latency of answers from the answer cache.

    python benchmarks/recall.py [--base tiny] [--passages 8] [--rounds 20]

In the middle of each file a suggestion is requested, typed to its end and deleted again, one key at a time, with 64
other answers in the cache and the model's thread constantly busy with another session's requests.
"""

import argparse
import asyncio
from collections.abc import Iterator
from statistics import quantiles
from time import perf_counter

import ours
import passages
from passages import FILES
from report import last_line, machine, p50, show

from starling_server.completion.service import Service
from starling_server.schema import CompleteRequest

BEFORE = 64


async def busy(service: Service) -> None:
    """Another session that sends requests without pause."""
    number = 0
    while True:
        number += 1
        text = f"def function_{number}(a, b):\n    return "
        await service.complete(CompleteRequest(prefix=text * 40, session="other"))


def along(text: str) -> Iterator[int]:
    """Typed characters of a suggestion after each key: up to all but one, and back."""
    yield from range(1, len(text))
    yield from range(len(text) - 1, -1, -1)


async def keys(service: Service, passage: passages.Passage, rounds: int) -> list[float]:
    """Milliseconds of each answer from the cache."""
    at, times = passage.before + passage.keys[0], list[float]()
    first = await service.complete(CompleteRequest(prefix=at, suffix=passage.after, session=passage.name))
    text = first.choices[0].text
    for _ in range(rounds if text else 0):
        for typed in along(text):
            request = CompleteRequest(prefix=at + text[:typed], suffix=passage.after, session=passage.name)
            started = perf_counter()
            answer = await service.complete(request)
            times.append((perf_counter() - started) * 1e3)
            assert (answer.choices[0].text, answer.usage.prompt_tokens) == (text[typed:], 0)
    return times


async def measure(service: Service, count: int, rounds: int) -> list[float]:
    """Answers of all passages."""
    for number in range(BEFORE):
        await service.complete(CompleteRequest(prefix=f"x_{number} = ", session=f"{number}", max_tokens=1))
    beside = asyncio.create_task(busy(service))
    times = [time for passage in passages.passages(count, 1) for time in await keys(service, passage, rounds)]
    beside.cancel()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--passages", type=int, default=len(FILES))
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    service = ours.service(ours.model(asked.base, "torch"))
    times = asyncio.run(measure(service, asked.passages, asked.rounds))
    service.close()
    figures = {"answers": len(times), "p50_ms": round(p50(times), 3), "p99_ms": round(quantiles(times, n=100)[-1], 3)}
    show("answers from memory", {asked.base: figures})
    last_line({**figures, "machine": machine()})


if __name__ == "__main__":
    main()
