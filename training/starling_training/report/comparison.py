"""Result of a comparison of two sides: the verdict, and the holes with different answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from starling_training.report.summary import FIGURES
from starling_training.scoring.intervals import Comparison
from starling_training.scoring.scores import similarity
from starling_training.scoring.trials import Trial

Word = Literal["better", "worse", "unsure"]
LOWER_IS_BETTER = frozenset({"middle loss", "wrong suggestions"})
DECIDING = ("middle loss", "pass@1", "exact match", "keys saved")
"""Metrics by priority: the first one available decides the verdict, because its interval is the narrowest."""
ELSEWHERE = (
    "The adapter was not trained on this code: a gain here comes from code in general, and says nothing about the code "
    "that it was trained on."
)
BEFORE, AFTER = 6, 3
"""Lines shown before and after a hole."""


def verdict(figures: Mapping[str, Comparison], sides: Sequence[str], elsewhere: bool = False) -> tuple[Word, str]:
    """The word and the sentence of the verdict; a single side is `unsure`, with its exact matches.

    `elsewhere`: the adapter was trained on other sources only, so a gain does not come from training on this one.
    """
    name = next((name for name in DECIDING if name in figures), "")
    if not name:
        return "unsure", "There are no trials."
    figure = figures[name]
    if len(sides) < 2:
        return (
            "unsure",
            f"{sides[0]} alone: {name} {_value(name, figure.base)} (95 % interval {_interval(name, figure)}).",
        )
    word = direction(name, figure)
    said = {
        "better": f"{sides[1]} is better than {sides[0]} here",
        "worse": f"{sides[1]} is worse than {sides[0]} here",
        "unsure": f"Whether {sides[1]} is better than {sides[0]} here is not sure",
    }[word]
    general = f" {ELSEWHERE}" if elsewhere and word == "better" else ""
    return word, f"{said}: {_said(name, figure)}.{_exact(name, figures)}{general}"


def direction(name: str, figure: Comparison) -> Word:
    """`better` or `worse` if the interval of the difference excludes zero."""
    if not figure.sure:
        return "unsure"
    return "better" if (figure.difference < 0) == (name in LOWER_IS_BETTER) else "worse"


def _exact(decided: str, figures: Mapping[str, Comparison]) -> str:
    figure = figures.get("exact match")
    if figure is None or decided == "exact match":
        return ""
    chance = "" if figure.sure or not figure.difference else ", which may be chance"
    return f" {_said('exact match', figure).capitalize()}{chance}."


def _said(name: str, figure: Comparison) -> str:
    shape = FIGURES[name][0]
    signed = shape.replace(":", ":+")
    low, high = signed.format(figure.low), signed.format(figure.high)
    return (
        f"{name} {shape.format(figure.adapter)} instead of {shape.format(figure.base)} "
        f"({signed.format(figure.difference)}, 95 % interval {low} to {high})"
    )


def _value(name: str, value: float) -> str:
    return FIGURES[name][0].format(value)


def _interval(name: str, figure: Comparison) -> str:
    return f"{_value(name, figure.base_range[0])} to {_value(name, figure.base_range[1])}"


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
    """Gain of the adapter in edit similarity to the truth, -1 to 1."""


def differing(trials: Sequence[Trial]) -> list[Example]:
    """All holes with two different answers, greatest gain first."""
    made = [example(trial) for trial in trials if trial.base.text != trial.adapter.text]
    return sorted(made, key=lambda example: -example.gain)


def example(trial: Trial) -> Example:
    """The hole of `trial`, with the lines around it."""
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
    """Up to `count` holes where the adapter was closer to the truth than the base, largest difference first."""
    return [example for example in differing(trials) if example.gain > 0][:count]


def lost(trials: Sequence[Trial], count: int) -> list[Example]:
    """Up to `count` holes where the base was closer to the truth, largest difference first."""
    return [example for example in reversed(differing(trials)) if example.gain < 0][:count]
