"""The size of a run, its progress by steps or time, the learning rate, and its evaluations in order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, cos, pi
from os import cpu_count
from random import Random
from time import monotonic
from typing import Literal

from starling_server.models import bases
from starling_server.models.bases import Base
from starling_training.config import OptimConfig
from starling_training.examples.dataset import Row, Writer, example
from starling_training.sources.clean import Document

FIRST = 0.01
"""The warm-up starts at this share of the peak rate instead of at 0, so that the first step has an effect."""
Ended = Literal["all steps done", "time is up", "no better any more", "interrupted"]

SAMPLE = 50
FLOPS_PER_CORE, FLOPS_GPU = 4e10, 4e13
"""Rates measured in training: 8e10 per second on two cores of a 2024 server with the tiny base; for a GPU, a third of
its peak bfloat16 rate, as is usual. Accurate to an order of magnitude.
"""
FLOPS_PER_WEIGHT = 6
"""FLOPs per weight and token: 2 forward, 4 backward (Kaplan et al. 2020). The gradients of the frozen weights, 2, are
not computed; attention and dequantisation make up for them.
"""


def steps(examples: int, config: OptimConfig) -> int:
    """Optimiser steps for this many examples, at most `max_steps`."""
    full = ceil(examples / (config.batch * config.accumulation))
    return min(full, config.max_steps) if config.max_steps else full


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run."""

    steps: int
    examples: int
    tokens: int
    minutes: float
    """Training time, without loading and evaluation."""


def plan(
    rows: Sequence[Row], documents: Sequence[Document], writer: Writer, base: Base, optim: OptimConfig, gpu: bool
) -> Plan:
    """Size of a run over `rows`; tokens are estimated from a sample of them."""
    picked = Random(0).sample(list(rows), min(SAMPLE, len(rows)))
    mean = sum(len(example(row, documents[row.document].text, writer).ids) for row in picked) / len(picked)
    count = min(len(rows), steps(len(rows), optim) * optim.batch * optim.accumulation)
    rate = FLOPS_GPU if gpu else FLOPS_PER_CORE * (cpu_count() or 1)
    minutes = count * mean * FLOPS_PER_WEIGHT * bases.weights(base) / rate / 60
    if optim.max_minutes and minutes > optim.max_minutes:
        share = optim.max_minutes / minutes
        count, minutes = round(count * share), optim.max_minutes
    return Plan(max(1, count // (optim.batch * optim.accumulation)), count, round(count * mean), minutes)


class Pace:
    """Progress from 0 to 1 of a run with `steps` optimiser steps and a time limit of `seconds` (0: no limit)."""

    def __init__(self, steps: int, seconds: float, clock: Callable[[], float] = monotonic) -> None:
        self.steps = steps
        self._seconds = seconds
        self._clock = clock
        self._started = 0.0
        self.elapsed = 0.0
        """Seconds from `start` to the last `tick`."""

    def start(self, before: float = 0.0) -> None:
        """Set the clock to zero or, for a resumed run, to the seconds already spent (`before`)."""
        self._started = self._clock() - before
        self.elapsed = before

    def tick(self) -> None:
        """Read the clock; all other methods use this reading."""
        self.elapsed = self._clock() - self._started

    @property
    def late(self) -> bool:
        """Whether the time limit is reached."""
        return 0 < self._seconds <= self.elapsed

    def progress(self, step: int) -> float:
        """0 at the start, 1 when the steps or the time limit are reached."""
        by_clock = self.elapsed / self._seconds if self._seconds else 0.0
        return min(1.0, max(step / self.steps, by_clock))

    def rate(self, step: int, warmup: float) -> float:
        """Factor on the peak learning rate: a linear rise over the share `warmup`, then a cosine down to 0.

        Depends on the clock too, so that a run with a time limit also ends with a low rate.
        """
        done = self.progress(step)
        if done < warmup:
            return (done + FIRST) / (warmup + FIRST)
        return 0.5 * (1 + cos(pi * (done - warmup) / (1 - warmup))) if warmup < 1 else 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation."""

    step: int
    seconds: float
    """Training time from the first step."""
    train: float | None
    """Mean training loss since the previous point, in nats per token; None before the first step."""
    held_out: float
    """Loss on held-out middles, in nats per token."""


@dataclass(slots=True)
class Curve:
    """A run's evaluations, in order."""

    points: list[Point] = field(default_factory=list[Point])
    ended: Ended = "all steps done"

    @property
    def best(self) -> Point:
        """The evaluation with the lowest held-out loss after the first step; the bare base's if there is no other."""
        return min(self.points[1:] or self.points, key=lambda point: point.held_out)

    @property
    def since_best(self) -> int:
        """Evaluations after the best one."""
        return len(self.points) - 1 - self.points.index(self.best)
