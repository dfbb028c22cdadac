"""What a run will take, before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import cpu_count
from random import Random

from starling_server.models import bases
from starling_server.models.bases import Base
from starling_training.config import OptimConfig
from starling_training.examples.dataset import Row, Writer, example
from starling_training.fit.trainer import steps
from starling_training.sources.clean import Document

SAMPLE = 50
FLOPS_PER_CORE, FLOPS_GPU = 4e10, 4e13
"""Rates that were reached in training: 8e10 a second on two cores of a 2024 server with the tiny base; a GPU's
bfloat16 rate at the usual third of its peak. Good for an order of magnitude."""
FLOPS_PER_WEIGHT = 6
"""Per token: 2 forward, 4 backward (Kaplan et al. 2020); the frozen weights' own gradients, 2, are not computed, and
attention and dequantising make up for it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run."""

    steps: int
    examples: int
    tokens: int
    minutes: float
    """Of training, without loading and judging."""


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
