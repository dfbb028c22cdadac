"""The part of the text around the cursor that goes into the prompt.

The window is the same function in training and in serving, and its edges are *stable*: StarCoder models have learnt
absolute positions, so a cached token is only valid at its own position, and an edge that moved with every keystroke
would invalidate the whole cache. The left edge therefore lies at a line start near a multiple of a quantum counted from
the document's start, the right edge near one counted from its end; each moves only by a whole quantum (about a quarter
of its budget).
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from starling_server.prompt.cursor import Cursor

Encode = Callable[[str], Sequence[int]]

SUFFIX_SHARE = 0.3
"""Max share of the budget for the text after the cursor; the rest goes to the text before."""
CHARS_PER_TOKEN = 3
"""A low estimate (3.45 measured on Python with an 8k vocabulary), used only to size the quantum."""
STEPS = 4
"""Quanta in a full budget."""
CLIP = 1 << 16
"""Characters; two to three of these are more than the largest window holds."""
REACH = STEPS * 3
"""Max quanta that are tried: more text than any budget holds."""


@dataclass(frozen=True, slots=True)
class Window:
    """Ids of the text that goes into the prompt, and the blanks that are left out of it."""

    prefix: list[int]
    suffix: list[int]
    held: str
    """The cursor's held blanks: the completion starts with them."""


def budget(context_tokens: int, max_tokens: int, sentinels: int) -> int:
    """Tokens for prefix and suffix together, so that a prompt with `sentinels` and the longest middle fit
    `context_tokens`.
    """
    return context_tokens - max_tokens - sentinels


def clip(prefix: str, suffix: str) -> tuple[str, str]:
    """The part of a large document that a request carries; the cuts move only every `CLIP` characters."""
    start = max(0, len(prefix) - 2 * CLIP) // CLIP * CLIP
    surplus = max(0, len(suffix) - 2 * CLIP) // CLIP * CLIP
    return prefix[start:], suffix[: len(suffix) - surplus]


def fit(cursor: Cursor, tokens: int, encode: Encode) -> Window:
    """The text around `cursor` that fits `tokens` together; the held blanks are left out."""
    max_suffix = int(tokens * SUFFIX_SHARE)
    suffix_ids = fit_suffix(cursor.suffix, max_suffix, stride(max_suffix), encode)
    prefix_ids = fit_prefix(cursor.head, tokens - len(suffix_ids), stride(tokens - max_suffix), encode)
    return Window(prefix_ids, suffix_ids, cursor.held)


def fit_prefix(text: str, budget: int, quantum: int, encode: Encode) -> list[int]:
    """Ids of the longest tail of `text` that starts at a stable edge and has at most `budget` tokens.

    Where a quantum of text takes more tokens than that, edges are closer; between two characters they always are.
    """

    def tail(step: int) -> Sequence[int]:
        return encode(text[_line_start(text, step * quantum, quantum) :])

    last = len(text) // quantum
    ids = _longest(tail, max(0, last - REACH), last, budget)
    return list(ids) if len(ids) <= budget else fit_prefix(text, budget, quantum // STEPS or 1, encode)


def fit_suffix(text: str, budget: int, quantum: int, encode: Encode) -> list[int]:
    """Ids of the longest head of `text` that ends at a stable edge and has at most `budget` tokens, as `fit_prefix`."""

    def head(step: int) -> Sequence[int]:
        return encode(text[: _line_start(text, len(text) - step * quantum, quantum)])

    last = len(text) // quantum
    ids = _longest(head, max(0, last - REACH), last, budget)
    return list(ids) if len(ids) <= budget else fit_suffix(text, budget, quantum // STEPS or 1, encode)


def _longest(part: Callable[[int], Sequence[int]], first: int, last: int, budget: int) -> Sequence[int]:
    """The first of the ever shorter parts `first..last` that fits the budget; the last where none does."""
    once = cache(part)
    step = bisect_left(range(first, last), True, key=lambda at: len(once(at)) <= budget)
    return once(first + step)


def stride(budget: int) -> int:
    """The quantum of a window of `budget` tokens, in characters."""
    return max(1, budget * CHARS_PER_TOKEN // STEPS)


def _line_start(text: str, at: int, reach: int) -> int:
    """The first line start at or after `at`, or `at` itself where the next one is `reach` or more away."""
    if at <= 0 or at >= len(text) or text[at - 1] == "\n":
        return max(0, min(at, len(text)))
    newline = text.find("\n", at, at + reach)
    return at if newline < 0 else newline + 1
