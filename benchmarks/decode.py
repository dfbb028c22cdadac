"""Decoding with and without drafts: tokens per second, acceptance of drafts, and differences between the answers.

    python benchmarks/decode.py [PATH ...] [--base tiny|1b|DIR] [--adapter NAME_OR_DIR] [--runner torch|ggml]
        [--holes 40] [--max-tokens 64] [--dtype auto|float32]

PATH holds code that neither base nor adapter was trained on (default: this repository). Random lines are removed from
it, and two services in this process, one of them with drafts, fill each hole in alternating order. Speed is that of
decoding alone: the tokens of an answer after the first, by the service's own clock. Drafts do not change a greedy
answer: `differing` must be 0 in float32. In smaller types, one forward pass over several tokens may round differently
from several passes over one token each, and a near tie may then be decided differently.
"""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import ours
import shapes
from passages import ROOT, texts
from report import last_line, machine, p50, ratio, show

from starling_server.completion.service import Service
from starling_server.schema import CompleteRequest, CompleteResponse

MOST_LINES = 6


@dataclass(frozen=True, slots=True)
class Pair:
    """The two answers at one hole."""

    drafted: CompleteResponse
    plain: CompleteResponse

    @property
    def differs(self) -> bool:
        return self.drafted.choices[0].text != self.plain.choices[0].text

    @property
    def timed(self) -> bool:
        """Whether both answers have tokens after the first."""
        return min(_speed(self.drafted), _speed(self.plain)) > 0


def holes(paths: Sequence[Path], count: int) -> Iterator[CompleteRequest]:
    """Cursors where up to `MOST_LINES` lines of a file were removed; deterministic."""
    random, found = Random(0), list(texts(paths))
    for _ in range(count):
        lines = random.choice(found).splitlines(keepends=True)
        start = random.randrange(len(lines) // 4, len(lines) - MOST_LINES)
        end = start + random.randint(1, MOST_LINES)
        yield CompleteRequest(prefix="".join(lines[:start]), suffix="".join(lines[end:]), mode="block")


async def fill(service: Service, asked: Sequence[CompleteRequest]) -> list[Pair]:
    """Fill every hole with drafts and without, in alternating order."""
    pairs = list[Pair]()
    for number, request in enumerate(asked):
        answers = dict[bool, CompleteResponse]()
        for drafts in (number % 2 == 1, number % 2 == 0):
            config = replace(service.config, drafts=drafts)
            service.completer = replace(service.completer, config=config)
            answers[drafts] = await service.complete(request)
        pairs.append(Pair(answers[True], answers[False]))
    return pairs


def figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Figures of both sides and their ratio."""
    timed = [pair for pair in pairs if pair.timed]
    drafting = _column([pair.drafted for pair in timed])
    plain = _column([pair.plain for pair in timed])
    drafted, accepted = drafting["drafted_tokens"], drafting["accepted_tokens"]
    return {
        "sides": {"drafts": drafting, "plain": plain},
        "speedup": ratio(drafting["tokens_per_second"], plain["tokens_per_second"]),
        "speedup_p50": round(p50([_speed(p.drafted) / _speed(p.plain) for p in timed]), 3) if timed else None,
        "acceptance": ratio(accepted, drafted),
        "differing": sum(pair.differs for pair in pairs),
        "holes": len(pairs),
        "timed": len(timed),
    }


def _column(answers: Sequence[CompleteResponse]) -> dict[str, Any]:
    tokens = sum(answer.usage.completion_tokens - 1 for answer in answers)
    seconds = sum(answer.timings.decode_ms for answer in answers) / 1e3
    return {
        "tokens_per_second": round(tokens / seconds, 2) if seconds else None,
        "tokens": tokens,
        "drafted_tokens": sum(answer.usage.drafted_tokens for answer in answers),
        "accepted_tokens": sum(answer.usage.accepted_tokens for answer in answers),
    }


def _speed(answer: CompleteResponse) -> float:
    """Tokens per second after the first token."""
    ms = answer.timings.decode_ms
    return (answer.usage.completion_tokens - 1) / ms * 1e3 if ms else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="*", metavar="PATH")
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--adapter")
    parser.add_argument("--runner", choices=ours.RUNNERS, default="torch")
    parser.add_argument("--holes", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float16", "float32"], default="auto")
    asked = parser.parse_args()
    where = machine()
    model = ours.model(shapes.named(asked.base), asked.runner, dtype=asked.dtype)
    service = ours.service(model, asked.adapter, max_tokens=asked.max_tokens)
    paths = asked.paths or [ROOT / "server", ROOT / "training"]
    found = figures(asyncio.run(fill(service, list(holes(paths, asked.holes)))))
    service.close()
    show("decoding", found["sides"])
    print(f"speed-up {found['speedup']}, acceptance {found['acceptance']}, differing answers {found['differing']}")
    last_line({"benchmark": "decode", "base": asked.base, "runner": asked.runner, **found, "machine": where})


if __name__ == "__main__":
    main()
