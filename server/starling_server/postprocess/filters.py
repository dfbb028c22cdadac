"""Model text to insertable text: small pure functions, composed by `trim`.

Each fixes a common complaint about completion tools: text that repeats what is already right of the cursor, closers
typed twice, the same line over and over. Brackets are counted without distinguishing strings and comments from code.
"""

import re
from collections.abc import Callable, Collection
from functools import partial

from starling_server.models.families import table as families
from starling_server.postprocess.completion_scope import indentation, may_be_followed_deeper
from starling_server.prompt.cursor import TAB, Cursor

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())


def first_surplus_closer(text: str) -> int | None:
    """Index of the first closing bracket that no bracket in `text` opened."""
    expected: list[str] = []
    for index, char in enumerate(text):
        if char in OPENERS:
            expected.append(OPENERS[char])
        elif expected and char == expected[-1]:
            expected.pop()
        elif char in CLOSERS:
            return index
    return None


def open_brackets(text: str) -> int:
    """Number of brackets that `text` opens and does not close."""
    expected: list[str] = []
    for char in text:
        if char in OPENERS:
            expected.append(OPENERS[char])
        elif expected and char == expected[-1]:
            expected.pop()
    return len(expected)


QUOTES = ('"', "'", "`")
MIN_OVERLAP = 3
"""Shorter matches with the text right of the cursor happen by chance, unless they are its whole line."""
MAX_REPEATS = 3
"""A line or block this many times in a row is a loop."""
LONGEST_BLOCK = 8
"""Max lines of a repeated block."""
ECHO = 8
"""Visible characters from which repeating the lines above is no coincidence."""
SHORT_RUN, LONG_RUN = 12, 20
"""Min characters of a run that is the whole text, and of one behind other text."""
RUN_ROUNDS, LONGEST_UNIT = 8, 8
"""Min repetitions in a run, and max characters of what is repeated."""
RULERS = frozenset("-=#*~_")
"""What comments are divided with, behind other text such as the comment's mark."""
_ENDS = "".join((*QUOTES, *CLOSERS))
"""What may close something behind a run."""
_LOOP = re.compile(r"((?=.{0,39}[^\W\d_]).{2,40}?)\1{3,}(.*)$", re.DOTALL)
"""Four times the same 2 to 40 characters up to the end, a letter among them: rulers and rows of zeros are no loops."""
_STRAY = re.compile(r"\n+t\Z")
"""StarCoder2 often writes this after a newline."""
_LEAD = re.compile(r"^[ \t]+", re.MULTILINE)


Filter = Callable[[str, Cursor], str]


def trim(
    text: str, cursor: Cursor, off: Collection[str] = (), sentinels: Collection[str] = families.TEXT_SENTINELS
) -> str:
    """The insertable part of `text` at the cursor, `""` for nothing; `off` names filters to skip.

    `text` starts with the cursor's held blanks, which are removed. `sentinels` are the base's `Fim.text_sentinels`, all
    families' where the base is not known.
    """
    text = cursor.after_held(text) or ""
    filters = FILTERS | {"sentinels": partial(drop_sentinels, sentinels=sentinels)}
    for name, apply in filters.items():
        text = text if name in off else apply(text, cursor)
    return text.rstrip()


def drop_sentinels(text: str, cursor: Cursor, sentinels: Collection[str] = families.TEXT_SENTINELS) -> str:
    """Cut at a sentinel that the model wrote in pieces, as ordinary tokens."""
    return text[: min((at for name in sentinels if (at := text.find(name)) >= 0), default=len(text))]


def drop_stray(text: str, cursor: Cursor) -> str:
    """Remove a lone `t` on the last line."""
    return _STRAY.sub("", text)


def fit_blanks(text: str, cursor: Cursor) -> str:
    """Indent as the document does: tabs where its lines begin with tabs, else spaces.

    The first line too, where there is nothing but blanks left of the cursor.
    """
    lines = _LEAD.findall(cursor.prefix + cursor.suffix)
    first = text.find("\n") + 1 or len(text)
    head, body = (text[:first], text[first:]) if cursor.line.strip() else ("", text)
    if not lines or not _LEAD.search(body):
        return text
    if 2 * sum(lead.startswith("\t") for lead in lines) > len(lines):
        spaces = " " * _spaces_for_a_tab(body, cursor)
        return head + _LEAD.sub(lambda lead: lead[0].replace(spaces, "\t"), body)
    unit = min((len(lead) for lead in lines if len(lead) > 1 and "\t" not in lead), default=TAB)
    return head + _LEAD.sub(lambda lead: lead[0].replace("\t", " " * unit), body)


def _spaces_for_a_tab(body: str, cursor: Cursor) -> int:
    """Spaces in `body`, whose first line follows the text before the cursor, for one tab of the document."""
    widths = [len(lead) for lead in _LEAD.findall(body) if "\t" not in lead]
    before = cursor.prefix.rstrip().rpartition("\n")[2]
    depth = indentation(before) // TAB + may_be_followed_deeper(before)
    if widths and depth and widths[0] in (2 * depth, 4 * depth, 8 * depth):
        return widths[0] // depth
    narrowest = min(widths, default=TAB)
    return next((unit for unit in (4, 2) if narrowest % unit == 0), max(2, narrowest))


def drop_double_blank(text: str, cursor: Cursor) -> str:
    """Remove leading blanks where the cursor already follows one on its line."""
    line = cursor.line
    return text.lstrip(" ") if line.strip() and line[-1] in " \t" else text


def fit_depth(text: str, cursor: Cursor) -> str:
    """On a blank line, remove indentation beyond the cursor's, unless the line above opens a block."""
    body = text.lstrip(" \t")
    extra = text[: len(text) - len(body)]
    above, line = cursor.prefix[: max(0, cursor.line_start - 1)], cursor.line
    if not extra or line.strip():
        return text
    last = above.rstrip().rpartition("\n")[2]
    if may_be_followed_deeper(last) or indentation(last) > indentation(line):
        return text
    return body.replace(f"\n{line}{extra}", f"\n{line}")


def drop_run(text: str, cursor: Cursor) -> str:
    """Drop one to eight characters over and over at the text's end, where the document has nothing of the kind."""
    bare = text.rstrip()
    for body in dict.fromkeys((bare, bare.rstrip(_ENDS))):
        for size in range(1, min(LONGEST_UNIT, len(body) - 1) + 1):
            unit, run = body[-size:], _periodic(body, size)
            is_whole = run >= len(body.lstrip())
            least = SHORT_RUN if is_whole else LONG_RUN
            says = size > 1 and any(map(str.isalpha, unit))
            is_kept = says and (not is_whole or "\n" in unit)  # `repetition` and `loop` keep one of them
            is_kept |= set(unit) <= RULERS and not is_whole
            if run >= max(least, RUN_ROUNDS * size) and not is_kept and not _has_run(cursor, unit):
                return "" if is_whole else body[:-run]
    return text


def _periodic(text: str, size: int) -> int:
    """Length of the longest end of `text` that repeats its last `size` characters."""
    at = len(text) - size
    while at > 0 and text[at - 1] == text[at - 1 + size]:
        at -= 1
    return len(text) - at


def _has_run(cursor: Cursor, unit: str) -> bool:
    """Whether the document has at least two of `unit`, and four characters, in a row."""
    some = unit * max(2, 4 // len(unit))
    return some in cursor.prefix or some in cursor.suffix


def drop_repetition(text: str, cursor: Cursor) -> str:
    """Keep one of a line or block that comes three times or more in a row, and nothing after it."""
    lines = (cursor.held + text).split("\n")
    for size in range(1, min(LONGEST_BLOCK, len(lines) // MAX_REPEATS) + 1):
        for first in range(len(lines) - MAX_REPEATS * size + 1):
            block = lines[first : first + size]
            again = lines[first : first + MAX_REPEATS * size]
            if any(line.strip() for line in block) and again == block * MAX_REPEATS:
                return "\n".join(lines[: first + size])[len(cursor.held) :]
    return text


def drop_loop(text: str, cursor: Cursor) -> str:
    """Keep one round of a loop at the text's end: `a.b.b.b.b.b` -> `a.b`."""
    loop = _LOOP.search(text)
    if loop is None or not loop[1].startswith(loop[2]):
        return text
    return text[: loop.end(1)]


def drop_surplus_closers(text: str, cursor: Cursor) -> str:
    """Cut at a closing bracket that nothing in `text` opened, where the same one stands right of the cursor."""
    at = first_surplus_closer(text)
    return text[:at] if at is not None and text[at] == cursor.rest.strip()[:1] else text


def drop_overlap(text: str, cursor: Cursor) -> str:
    """Cut the end of `text` that repeats the rest of the cursor's line."""
    rest, body = cursor.rest.strip(), text.rstrip()
    for size in range(min(len(rest), len(body)), 0, -1):
        enough = size == len(rest) or size >= MIN_OVERLAP or closes_quote(body[-size:], body)
        if enough and body.endswith(rest[:size]) and not _unbalances(body, len(body) - size):
            return body[:-size]
    return text


def drop_following_lines(text: str, cursor: Cursor) -> str:
    """Cut lines at the end of `text` that are the lines below the cursor's."""
    below = [line.strip() for line in cursor.below.split("\n") if line.strip()]
    lines = text.split("\n")
    for first in range(len(lines)):
        tail = [line.strip() for line in lines[first:] if line.strip()]
        kept = "\n".join(lines[:first])
        if tail and tail == below[: len(tail)] and not _unbalances(text, len(kept)):
            return kept
    return text


def drop_echo(text: str, cursor: Cursor) -> str:
    """Drop a suggestion that only repeats the lines just above."""
    if cursor.line.strip():
        return text
    above = [line.strip() for line in cursor.prefix.split("\n")[:-1] if line.strip()]
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    repeats = lines and above[-len(lines) :] == lines and sum(map(len, lines)) >= ECHO
    return "" if repeats else text


FILTERS: dict[str, Filter] = {
    "sentinels": drop_sentinels,
    "stray": drop_stray,
    "blanks": fit_blanks,
    "double-blank": drop_double_blank,
    "depth": fit_depth,
    "run": drop_run,
    "repetition": drop_repetition,
    "loop": drop_loop,
    "closers": drop_surplus_closers,
    "overlap": drop_overlap,
    "following": drop_following_lines,
    "echo": drop_echo,
}
"""Every filter by its name, in the order in which they are applied."""


def closes_quote(end: str, text: str) -> bool:
    """Whether `text` ends with `end`, a quote that it has not opened: the cursor is inside a string."""
    return end in QUOTES and text.endswith(end) and text.count(end) % 2 == 1


def _unbalances(text: str, cut: int) -> bool:
    """Whether cutting at `cut` would leave brackets open that `text` closes itself."""
    return open_brackets(text[:cut]) > open_brackets(text)
