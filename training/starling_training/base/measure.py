"""Evaluates a base on held-out packages: bits per byte, and holes filled through the completion service.

Two bases are compared on the same text and the same holes, which depend only on the packages.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional

from starling_server.backends.torch.loading import Loaded, load
from starling_server.config import ModelConfig, Quantize
from starling_training.base import collect
from starling_training.examples.spans import DRAWS, Hole, Kind, Lines, cut
from starling_training.scoring import judge, scores
from starling_training.scoring.engines import PLAIN, Manner
from starling_training.scoring.intervals import Comparison
from starling_training.scoring.trials import Answer, truth
from starling_training.sources.clean import Document

OTHERS = 5
"""Number of line-end holes for each hole of another kind."""
LONGEST: dict[Kind, int] = {"line": 120, "block": 240, "characters": 120}
"""Max characters of a hole, by kind; longer middles do not fit in a suggestion."""
MANNERS: dict[Kind, Manner] = {"line": Manner(mode="line")}
"""Line holes are requested in line mode, even where the position alone would call for a block."""
TEXT_CHARS = 40_000
"""Max characters of each package used for bits per byte."""
MAX_TOKENS = 64
Packages = dict[str, list[Document]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A hole and its location."""

    package: str
    path: str
    hole: Hole


def packages(folder: Path) -> Packages:
    """The held-out packages that `collect` packed into `folder`."""
    rows = collect.unpack(folder / collect.HELD_OUT)
    return {name: [document for _, document in group] for name, group in groupby(rows, key=lambda row: row[0])}


def holes(held_out: Packages, kind: Kind, count: int) -> list[Asked]:
    """`count` holes of one kind, spread evenly over the packages; within a package, longer files get more.
    Deterministic.
    """
    names = sorted(held_out)
    return [_hole(names[number % len(names)], held_out, kind, number) for number in range(count)]


def bits_per_byte(loaded: Loaded, held_out: Packages) -> dict[str, float]:
    """Bits per byte of each package's code under the base, in windows as long as its context."""
    return {name: _bits_per_byte(loaded, _excerpt(held_out[name], name)) for name in sorted(held_out)}


def compare(
    asked: Sequence[Asked], first: Sequence[Answer], second: Sequence[Answer], manner: Manner = PLAIN
) -> dict[str, Comparison]:
    """All metrics of two bases at the same holes, with the difference of the second and its confidence interval."""
    return scores.compare(judge.paired([(item.path, item.hole) for item in asked], first, second, manner))


def measure(
    base: str, against: str, held_out: Packages, count: int, quantize: Quantize, told: Callable[[str], None]
) -> dict[str, Any]:
    """All metrics of `base` and `against` in JSON types, from `count` holes at line ends."""
    figures: dict[str, Any] = {"quantize": quantize, "bits per byte": {}}
    for name in (against, base):
        loaded = load(ModelConfig(base=name, quantize=quantize))
        figures["bits per byte"][name] = bits_per_byte(loaded, held_out)
        context = loaded.base.context
        del loaded
        told(f"{name}: {_mean(figures['bits per byte'][name]):.3f} bits per byte")
    for kind in LONGEST:
        asked = holes(held_out, kind, count if kind == "line" else max(1, count // OTHERS))
        manner = MANNERS.get(kind, PLAIN)
        first, second = (_answers(name, asked, context, quantize, manner) for name in (against, base))
        compared = compare(asked, first, second, manner)
        figures[kind] = {"holes": len(asked), **{name: asdict(figure) for name, figure in compared.items()}}
        told(f"{kind}: " + ", ".join(f"{name} {f.base:.3f} to {f.adapter:.3f}" for name, f in compared.items()))
    return figures


def _answers(base: str, asked: Sequence[Asked], context: int, quantize: Quantize, manner: Manner) -> list[Answer]:
    """The base's completion at each hole, through the completion service."""
    holes = [(item.path, item.hole) for item in asked]
    return judge.ask(ModelConfig(base=base, quantize=quantize), holes, context, MAX_TOKENS, lambda _: True, manner)


def _hole(package: str, held_out: Packages, kind: Kind, number: int) -> Asked:
    """Draw holes until one fits the limits; the kind is fixed, whatever its share in training."""
    random = Random(f"{package}:{kind}:{number}")
    documents = held_out[package]
    weights = [len(document.text) for document in documents]
    while True:
        document = random.choices(documents, weights)[0]
        span = DRAWS[kind](Lines(document.text), random)
        if span and span.length <= LONGEST[kind]:
            hole = cut(document.text, span)
            if truth(hole, MANNERS.get(kind, PLAIN).mode).strip():  # otherwise an empty suggestion would be correct
                return Asked(package, document.path, hole)


def _excerpt(documents: Sequence[Document], package: str) -> str:
    """Whole files of the package, up to the character limit."""
    shuffled = sorted(documents, key=lambda document: document.sha256)
    Random(package).shuffle(shuffled)
    return "\n".join(document.text for document in shuffled)[:TEXT_CHARS]


@torch.inference_mode()
def _bits_per_byte(loaded: Loaded, text: str) -> float:
    nats = 0.0
    for ids in _windows(loaded.tokenizer.encode(text), loaded.base.context - 1):
        row = torch.tensor([[loaded.fim.end, *ids]], device=loaded.device)
        logits = loaded.model(input_ids=row, use_cache=False).logits[0, :-1].float()
        nats += float(functional.cross_entropy(logits, row[0, 1:], reduction="sum"))
    return nats / math.log(2) / len(text.encode())


def _windows(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for at in range(0, len(ids), size):
        yield ids[at : at + size]


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
