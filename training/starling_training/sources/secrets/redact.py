"""Secrets in code to typed placeholders, before anything is kept or learnt from.

A secret shows itself in one of three ways: by its looks (`providers`), by the name that it is given to (`assigned`) or
by its place (`placed`). How random a string is does not decide: hashes of commits and pictures are random too.
"""

import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from starling_training.sources.secrets import assigned, placed, providers
from starling_training.sources.secrets.plausible import LEAST, PLACEHOLDER
from starling_training.sources.secrets.providers import Found

__all__ = ["GENERIC", "LEAST", "Secret", "find", "placeholder", "redact"]
GENERIC = frozenset((assigned.KIND, placed.BASE64))
"""Kinds that say little about a secret."""

AROUND = 400
"""Characters before and after a value, in its line, where it may stand again."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is. Its value is nowhere in here."""

    start: int
    end: int
    """Of the value in the text that was looked at."""
    kind: str
    line: int
    """From 1 on."""


def redact(text: str) -> tuple[str, list[Secret]]:
    """`text` with a placeholder for every secret, and where they were."""
    secrets = find(text)
    pieces, at = list[str](), 0
    for secret in secrets:
        pieces += [text[at : secret.start], placeholder(secret.kind)]
        at = secret.end
    return "".join([*pieces, text[at:]]), secrets


def placeholder(kind: str) -> str:
    """What stands for a secret of this kind, such as `REDACTED_GITHUB_TOKEN`."""
    return PLACEHOLDER + re.sub(r"\W+", "_", kind).strip("_").upper()


def find(text: str) -> list[Secret]:
    """Secrets in `text` by position; of two that overlap the longer one."""
    seen = {*providers.find(text), *assigned.find(text), *placed.find(text)}
    found = sorted({*seen, *_again(text, seen)}, key=_size, reverse=True)
    kept = list[Found]()  # by position, none overlapping
    for start, end, kind in found:
        at = bisect(kept, (start, end, kind))
        if end > start and (at == 0 or kept[at - 1][1] <= start) and (at == len(kept) or end <= kept[at][0]):
            kept.insert(at, (start, end, kind))
    breaks = [newline.start() for newline in re.finditer("\n", text)]
    return [Secret(start, end, kind, bisect(breaks, start) + 1) for start, end, kind in kept]


def _again(text: str, seen: set[Found]) -> Iterator[Found]:
    """The same values beside themselves: a name may be spelt like its value."""
    for start, end, kind in seen:
        value, first = text[start:end], text.rfind("\n", max(0, start - AROUND), start) + 1 or max(0, start - AROUND)
        last = text.find("\n", end, end + AROUND)
        at = text.find(value, first, last if last >= 0 else end + AROUND) if len(value) >= LEAST else -1
        while at >= 0:
            yield at, at + len(value), kind
            at = text.find(value, at + len(value), last if last >= 0 else end + AROUND)


def _size(found: Found) -> tuple[int, bool, int]:
    """Longer ones first; of the same length those whose kind says most."""
    start, end, kind = found
    return end - start, kind not in GENERIC, -start
