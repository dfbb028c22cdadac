"""Keystroke counts of typing a text with suggestions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starling_training.scoring.intervals import Columns, Comparison, Floats, column, compare


@dataclass(frozen=True, slots=True)
class Keys:
    """One engine while one text was typed."""

    pressed: int
    """Keys pressed: one for each character typed and one for each acceptance."""
    accepted: int
    """Accepted suggestions."""
    characters: int
    """Characters of the text from accepted suggestions."""
    shown: int
    """Distinct suggestions displayed; a suggestion that matches further typing counts once."""
    wrong: int
    """Displayed suggestions that were never correct."""
    asked: int = 0
    ms: float = 0.0
    """Duration of all requests."""


@dataclass(frozen=True, slots=True)
class Typed:
    """One text by the author, typed with each engine."""

    path: str
    text: str
    base: Keys
    adapter: Keys


def saved(typed: Sequence[Typed], seed: int = 0) -> Mapping[str, Comparison]:
    """Keystrokes saved and wrong suggestions over all texts; intervals are over files, then texts."""
    if not typed:
        return {}
    length = column([len(text.text) for text in typed], [len(text.text) for text in typed])
    columns: dict[str, Columns] = {
        "characters saved": (_values(typed, "characters"), length),
        "keys saved": (_values(typed, "characters") - _values(typed, "accepted"), length),
        "wrong suggestions": (_values(typed, "wrong"), _values(typed, "shown")),
    }
    return compare(columns, [text.path for text in typed], seed)


def _values(typed: Sequence[Typed], name: str) -> Floats:
    return column([getattr(text.base, name) for text in typed], [getattr(text.adapter, name) for text in typed])
