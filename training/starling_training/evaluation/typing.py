"""A simulated typist: types the author's text and accepts every correct suggestion.

A suggestion is correct if all of it equals the text that follows. The typist sees every suggestion before the next key
and never accepts part of one. Real users are slower and less strict.
"""

from collections.abc import Sequence
from dataclasses import replace

from starling_training.evaluation.history import Change
from starling_training.evaluation.sides import Side
from starling_training.scoring.engines import Engine, Manner
from starling_training.scoring.judge import GoOn
from starling_training.scoring.keystroke_counts import Keys, Typed


async def type_all(sides: Sequence[Side], changes: Sequence[Change], go_on: GoOn) -> list[Typed]:
    """Each change typed with each side; a single side is used for both."""
    made = list[Typed]()
    for number, change in enumerate(changes):
        found = [await type_one(side.engine, change, f"{side.name}:{number}") for side in sides]
        made.append(Typed(change.path, change.text, found[0], found[-1]))
        if not go_on(len(made)):
            break
    return made


async def type_one(engine: Engine, change: Change, session: str) -> Keys:
    """The keystrokes for typing `change.text` with suggestions of `engine`."""
    manner, keys, at, shown = Manner(session=session, scored=False), Keys(0, 0, 0, 0, 0), 0, ""
    while at < len(change.text):
        hole = replace(change.hole, prefix=change.prefix + change.text[:at], middle=change.text[at:])
        answer = await engine.ask(hole, manner)
        keys = replace(keys, asked=keys.asked + 1, ms=keys.ms + answer.ms)
        new = answer.text and answer.text != shown
        right = bool(answer.text) and change.text.startswith(answer.text, at)
        keys = replace(keys, shown=keys.shown + bool(new), wrong=keys.wrong + bool(new and not right))
        step = len(answer.text) if right else _key(change.text, at)
        if right:
            keys = replace(keys, accepted=keys.accepted + 1, characters=keys.characters + step)
        shown = _typed_along(answer.text, change.text[at : at + step])
        keys, at = replace(keys, pressed=keys.pressed + 1), at + step
    return keys


def _key(text: str, at: int) -> int:
    """Characters typed by one key: Enter also inserts the next line's indentation."""
    if text[at] != "\n":
        return 1
    rest = text[at + 1 :]
    return 1 + len(rest) - len(rest.lstrip(" \t"))


def _typed_along(suggestion: str, typed: str) -> str:
    """The remainder of a suggestion after a matching key; empty after any other key."""
    return suggestion[len(typed) :] if suggestion.startswith(typed) else ""
