"""Paired comparison of a metric of two models at the same holes: difference, confidence interval and sign test.

Holes of one file are alike, so intervals resample files first and then holes of each chosen file (two-stage bootstrap,
Davison and Hinkley 1997, section 3.8). Over holes alone they would be too narrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from starling_training.scoring.metrics import sign_test

RESAMPLES = 2_000
LEVEL = 0.05
"""Share of the resamples outside the interval, both ends together."""
Floats = NDArray[np.float64]
Columns = tuple[Floats, Floats]
"""Numerator and denominator of a metric at each hole, both of shape (2, holes): base, adapter."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of both models, and the adapter's difference with its 95 % interval (paired bootstrap by file)."""

    base: float
    adapter: float
    difference: float
    low: float
    high: float
    base_range: tuple[float, float]
    """95 % interval of the base."""
    adapter_range: tuple[float, float]
    """95 % interval of the adapter. It may overlap the base's even if the difference is significant, because the
    difference is computed per hole.
    """
    more: int = 0
    """Holes where the adapter's value is greater than the base's."""
    less: int = 0
    chance: float = 1.0
    """p of the sign test: the probability of counts at least this uneven by chance."""

    @property
    def sure(self) -> bool:
        """Whether the interval of the difference excludes zero."""
        return self.low > 0 or self.high < 0


def compare(columns: Mapping[str, Columns], files: Sequence[str], seed: int = 0) -> dict[str, Comparison]:
    """Every metric, a ratio of two sums over holes, on the same resamples; `files` names each hole's file."""
    if not columns:
        return {}
    times = _times(files, seed)
    return {name: _compare(above, below, times) for name, (above, below) in columns.items()}


def _times(files: Sequence[str], seed: int) -> Floats:
    """How often each hole is in each resample, (resamples, holes)."""
    random = np.random.default_rng(seed)
    _, file, sizes = np.unique(files, return_inverse=True, return_counts=True)
    chosen = random.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), RESAMPLES)
    times = np.empty((RESAMPLES, len(files)))
    for number, size in enumerate(sizes):  # a file that was chosen n times gives n times its number of holes
        times[:, file == number] = random.multinomial(chosen[:, number] * size, np.full(size, 1 / size))
    return times


def column(base: Sequence[float], adapter: Sequence[float]) -> Floats:
    """A metric of both models at each hole, (2, holes)."""
    return np.array([base, adapter], float)


def _compare(above: Floats, below: Floats, times: Floats) -> Comparison:
    """Ratios of sums over all holes and over each resample; `times` has each hole's count: (resamples, holes)."""
    base, adapter = above.sum(1) / _divisor(below.sum(1))
    resampled = (above @ times.T) / _divisor(below @ times.T)
    low, high = _range(resampled[1] - resampled[0])
    more, less = int((above[1] > above[0]).sum()), int((above[1] < above[0]).sum())
    return Comparison(
        float(base), float(adapter), float(adapter - base), low, high, _range(resampled[0]), _range(resampled[1]),
        more, less, sign_test(more, less),
    )  # fmt: skip


def _divisor(sums: Floats) -> Floats:
    """Replaces zero denominators, whose numerators are zero as well."""
    return np.where(sums == 0, 1, sums)


def _range(resampled: Floats) -> tuple[float, float]:
    """The interval that contains 95 % of the resamples."""
    low, high = np.percentile(resampled, [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)])
    return float(low), float(high)
