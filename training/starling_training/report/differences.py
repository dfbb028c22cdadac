"""Holes where base and adapter answered differently, to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

from starling_training.scoring.scores import similarity
from starling_training.scoring.trials import Trial

BEFORE, AFTER = 6, 3
"""Lines around a hole that are shown."""


@dataclass(frozen=True, slots=True)
class Example:
    """One hole with both answers."""

    path: str
    kind: str
    before: str
    """The last lines of the text before the cursor."""
    after: str
    truth: str
    base: str
    adapter: str
    gain: float
    """How much nearer to the truth the adapter came: edit similarity, -1 to 1."""


def differing(trials: Sequence[Trial]) -> list[Example]:
    """All holes with two different answers, greatest gain first."""
    made = [example(trial) for trial in trials if trial.base.text != trial.adapter.text]
    return sorted(made, key=lambda example: -example.gain)


def example(trial: Trial) -> Example:
    """The hole of `trial` cut down to the lines around it."""
    hole = trial.hole
    return Example(
        trial.path,
        hole.kind,
        "\n".join(hole.prefix.split("\n")[-BEFORE:]),
        "\n".join(hole.suffix.split("\n")[:AFTER]),
        trial.truth,
        trial.base.text,
        trial.adapter.text,
        similarity(trial, trial.adapter) - similarity(trial, trial.base),
    )


def gained(trials: Sequence[Trial], count: int) -> list[Example]:
    """Up to `count` holes where the adapter came nearer to the truth than the base, the clearest first."""
    return [example for example in differing(trials) if example.gain > 0][:count]


def lost(trials: Sequence[Trial], count: int) -> list[Example]:
    """Up to `count` holes where the base came nearer, the clearest first."""
    return [example for example in reversed(differing(trials)) if example.gain < 0][:count]
