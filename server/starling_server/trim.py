"""Model text to insertable text: small pure functions, composed by `trim`.

Each answers a complaint that people have about every completion tool: text that repeats what is already right of
the cursor, closers typed twice, the same line over and over, a suggestion of nothing.
"""

import re
from itertools import groupby

from starling_server.brackets import first_surplus_closer, open_brackets

QUOTES = ('"', "'", "`")
MIN_VISIBLE = 2
"""Fewer visible characters are not worth a person's glance."""
MIN_OVERLAP = 3
"""Shorter agreements with the text right of the cursor happen by chance, unless they are its whole line."""
MAX_REPEATS = 3
"""A line this many times in a row is a loop."""
_LOOP = re.compile(r"((?=.{0,39}[^\W\d_]).{2,40}?)\1{3,}(.*)$", re.DOTALL)
"""Four times the same 2 to 40 characters up to the end, a letter among them: rulers and rows of zeros are no loops."""


def trim(text: str, indent: str, suffix: str) -> str:
    """What may be inserted at the cursor, `""` for nothing.

    `indent` is what the cursor's line already holds and the text begins with (see `window.hold_indent`);
    `suffix` is the text right of the cursor.
    """
    text = strip_indent(text, indent)
    text = drop_loop(drop_repetition(text))
    text = drop_surplus_closers(text, suffix)
    text = drop_overlap(text, suffix)
    text = drop_following_lines(text, suffix)
    text = text.rstrip()
    return text if len("".join(text.split())) >= MIN_VISIBLE else ""


def strip_indent(text: str, indent: str) -> str:
    """Take off the indentation that is on the line already; text that is indented otherwise is not for here."""
    if not indent:
        return text
    body = text.lstrip("\n")
    return body[len(indent) :] if body.startswith(indent) else ""


def drop_repetition(text: str) -> str:
    """Keep one of a line that comes three times or more in a row, and nothing after it."""
    kept: list[str] = []
    for line, run in groupby(text.split("\n")):
        repeats = len(list(run))
        if line.strip() and repeats >= MAX_REPEATS:
            return "\n".join([*kept, line])
        kept.extend([line] * repeats)
    return "\n".join(kept)


def drop_loop(text: str) -> str:
    """Keep one round of what the text ends in saying over and over: `a.b.b.b.b.b` -> `a.b`."""
    loop = _LOOP.search(text)
    if loop is None or not loop[1].startswith(loop[2]):
        return text
    return text[: loop.end(1)]


def drop_surplus_closers(text: str, suffix: str) -> str:
    """Cut at a closing bracket that nothing in `text` opened, where the same one stands right of the cursor."""
    following = suffix.partition("\n")[0].lstrip()[:1]
    at = first_surplus_closer(text)
    return text[:at] if at is not None and text[at] == following else text


def drop_overlap(text: str, suffix: str) -> str:
    """Cut the end of `text` that repeats the rest of the cursor's line."""
    rest = suffix.partition("\n")[0].strip()
    body = text.rstrip()
    for size in range(min(len(rest), len(body)), 0, -1):
        enough = size == len(rest) or size >= MIN_OVERLAP or closes_quote(body[-size:], body)
        if enough and body.endswith(rest[:size]) and not _unbalances(body, len(body) - size):
            return body[:-size]
    return text


def drop_following_lines(text: str, suffix: str) -> str:
    """Cut lines at the end of `text` that are the lines below the cursor's."""
    below = [line.strip() for line in suffix.partition("\n")[2].split("\n") if line.strip()]
    lines = text.split("\n")
    for first in range(len(lines)):
        tail = [line.strip() for line in lines[first:] if line.strip()]
        kept = "\n".join(lines[:first])
        if tail and tail == below[: len(tail)] and not _unbalances(text, len(kept)):
            return kept
    return text


def closes_quote(end: str, text: str) -> bool:
    """Whether `text` ends with `end`, a quote that it has not opened: the cursor is inside a string."""
    return end in QUOTES and text.endswith(end) and text.count(end) % 2 == 1


def _unbalances(text: str, cut: int) -> bool:
    """Whether cutting at `cut` would leave brackets open that `text` closes itself."""
    return open_brackets(text[:cut]) > open_brackets(text)
