"""Redacts secrets in code with typed placeholders, before anything is stored or trained on.

A secret is identified by its format (`providers`), by the name it is assigned to (`assigned`) or by its place
(`placed`). Randomness alone is not enough: commit hashes and images are random too.
"""

import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from starling_server.files.secrets import assigned, placed, providers
from starling_server.files.secrets.plausible import LEAST, PLACEHOLDER, is_password
from starling_server.files.secrets.providers import Found

__all__ = ["GENERIC", "LEAST", "Secret", "find", "placeholder", "redact"]
GENERIC = frozenset((assigned.KIND, placed.BASE64))
"""Kinds that carry little information about a secret."""

_WORD = re.compile(r"\w+")
MOST_OTHERS = 100
"""Values with other characters than letters, digits and underscores that are searched for in the whole text: each
search reads all of it.
"""
AROUND = 400
"""Characters before and after a value, in its line, that are searched for repetitions of it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """The place of a secret, without its value."""

    start: int
    end: int
    """End of the value in the original text."""
    kind: str
    line: int
    """One-based."""


def redact(text: str) -> tuple[str, list[Secret]]:
    """`text` with a placeholder for every secret, and the places of the secrets."""
    secrets = find(text)
    pieces, at = list[str](), 0
    for secret in secrets:
        pieces += [text[at : secret.start], placeholder(secret.kind)]
        at = secret.end
    return "".join([*pieces, text[at:]]), secrets


def placeholder(kind: str) -> str:
    """The placeholder for a secret of this kind, such as `REDACTED_GITHUB_TOKEN`."""
    return PLACEHOLDER + re.sub(r"\W+", "_", kind).strip("_").upper()


def find(text: str) -> list[Secret]:
    """Secrets in `text` by position; of two that overlap, the longer one."""
    seen = {*providers.find(text), *assigned.find(text), *placed.find(text)}
    found = sorted({*seen, *_again(text, seen), *_elsewhere(text, seen)}, key=_size, reverse=True)
    kept = list[Found]()  # by position, none overlapping
    for start, end, kind in found:
        at = bisect(kept, (start, end, kind))
        if end > start and (at == 0 or kept[at - 1][1] <= start) and (at == len(kept) or end <= kept[at][0]):
            kept.insert(at, (start, end, kind))
    breaks = [newline.start() for newline in re.finditer("\n", text)]
    return [Secret(start, end, kind, bisect(breaks, start) + 1) for start, end, kind in kept]


def _again(text: str, seen: set[Found]) -> Iterator[Found]:
    """Repetitions of the values in their lines: a name may equal its value."""
    for start, end, kind in seen:
        value, first = text[start:end], text.rfind("\n", max(0, start - AROUND), start) + 1 or max(0, start - AROUND)
        last = text.find("\n", end, end + AROUND)
        at = text.find(value, first, last if last >= 0 else end + AROUND) if len(value) >= LEAST else -1
        while at >= 0:
            yield at, at + len(value), kind
            at = text.find(value, at + len(value), last if last >= 0 else end + AROUND)


def _elsewhere(text: str, seen: set[Found]) -> Iterator[Found]:
    """Repetitions of the values in other lines, as in `assert "hunter22" not in log`; a value that is a word is left.

    A model that has learnt from one of them would give the redacted one back.
    """
    values = {text[start:end]: kind for start, end, kind in sorted(seen)}
    words = {value: kind for value, kind in values.items() if _WORD.fullmatch(value) and is_password(value)}
    if words:
        yield from ((word.start(), word.end(), words[word[0]]) for word in _WORD.finditer(text) if word[0] in words)
    others = [value for value in values if not _WORD.fullmatch(value) and is_password(value)]
    for value in others[:MOST_OTHERS]:
        at = text.find(value)
        while at >= 0:
            yield at, at + len(value), values[value]
            at = text.find(value, at + len(value))


def _size(found: Found) -> tuple[int, bool, int]:
    """Sort key: longer first; for equal lengths, the more specific kind first."""
    start, end, kind = found
    return end - start, kind not in GENERIC, -start
