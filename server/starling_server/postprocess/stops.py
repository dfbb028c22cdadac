"""When to stop generating, judged on the text so far. Pure: no tokens, no torch.

A stop maps the text so far to the index to cut at, or None to go on.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from starling_server.config import Reason, Rule
from starling_server.postprocess.completion_scope import Extent, indentation
from starling_server.postprocess.filters import first_surplus_closer
from starling_server.prompt.cursor import Cursor

LONG_LINE = 20
"""Visible characters from which a repeated line is no coincidence."""
SAME_LINES = 3
"""A line this many times in a row is a loop."""
REPLACEMENT = "\ufffd"
"""What bytes that form no character decode to."""
MOST_PENDING = 3
"""Bytes at a text's end that the next ones may complete to a character."""
_CLOSER = re.compile(r"\s*([)\]}]|end\b)")


class Stop(Protocol):
    """A rule that ends a suggestion."""

    @property
    def reason(self) -> Reason:
        """The answer's `finish_reason` when this rule ended it."""
        ...

    def __call__(self, text: str) -> int | None:
        """Index at which `text` should be cut, None while it should go on."""
        ...


@dataclass(frozen=True, slots=True)
class LineStop:
    """One line. Newlines before anything visible count only where the cursor's line goes on."""

    rest_blank: bool
    reason: Reason = "line"

    def __call__(self, text: str) -> int | None:
        """Cut before the newline that ends the line."""
        lead = len(text) - len(text.lstrip()) if self.rest_blank else 0
        end = text.find("\n", lead)
        return None if end < 0 else end


@dataclass(frozen=True, slots=True)
class BlockStop:
    """One block: until a line is indented less than the block, or two blank lines in a row."""

    opener_indent: int | None
    """Indentation of the line that opens the block, where the cursor is at that line's end; None on an empty line."""
    reason: Reason = "block"

    def __call__(self, text: str) -> int | None:
        """Cut before the first line outside; a lone closer on the opener's level is still inside."""
        at = 0
        inner = None if self.opener_indent is None else self.opener_indent + 1
        blank = 0
        lines = text.split("\n")
        for number, line in enumerate(lines):
            visible = line.strip()
            complete = number < len(lines) - 1
            blank = blank + 1 if complete and number > 0 and not visible else 0
            if blank == 2:
                return at - 2
            if visible and inner is not None and number > 0 and (width := indentation(line)) < inner:
                may_close = _CLOSER.match(line) or (not complete and "end".startswith(visible))
                closes = width == self.opener_indent and may_close
                return _line_end(text, at) if closes else at - 1
            if visible and inner is None:
                inner = indentation(line)
            at += len(line) + 1
        return None


@dataclass(frozen=True, slots=True)
class SuffixStop:
    """The first line below the cursor, where it is long enough that repeating it is no coincidence."""

    below: str
    """That line, stripped."""
    reason: Reason = "suffix"

    def __call__(self, text: str) -> int | None:
        """Cut before a whole line that equals it."""
        at = 0
        for line in text.split("\n")[:-1]:
            if line.strip() == self.below and at:
                return at - 1
            at += len(line) + 1
        return None


@dataclass(frozen=True, slots=True)
class BracketStop:
    """A closing bracket that the text has not opened and that is right of the cursor already."""

    following: str
    """The first visible character right of the cursor."""
    reason: Reason = "bracket"

    def __call__(self, text: str) -> int | None:
        """Cut before the bracket."""
        at = first_surplus_closer(text)
        return at if at is not None and text[at] == self.following else None


@dataclass(frozen=True, slots=True)
class RepeatStop:
    """The same line `SAME_LINES` times in a row."""

    reason: Reason = "repeat"

    def __call__(self, text: str) -> int | None:
        """Cut after the last of them; trimming keeps one."""
        lines = text.split("\n")[:-1]
        last = lines[-SAME_LINES:]
        looped = len(last) == SAME_LINES and last[0].strip() and len(set(last)) == 1
        return len("\n".join(lines)) if looped else None


@dataclass(frozen=True, slots=True)
class IndentStop:
    """Text that lacks the blanks held back from the prompt (`Cursor.after_held`), of which nothing can be inserted."""

    cursor: Cursor
    reason: Reason = "indent"

    def __call__(self, text: str) -> int | None:
        """Cut everything as soon as the text differs from the blanks."""
        return 0 if self.cursor.after_held(text) is None else None


@dataclass(frozen=True, slots=True)
class CharacterStop:
    """Bytes that form no character, whatever comes after them (`characters`)."""

    reason: Reason = "bytes"

    def __call__(self, text: str) -> int | None:
        """Cut before the first of them."""
        at = text.find(REPLACEMENT)
        return None if at < 0 else at


@dataclass(frozen=True, slots=True)
class TextStop:
    """Texts that the request names."""

    texts: tuple[str, ...]
    reason: Reason = "stop"

    def __call__(self, text: str) -> int | None:
        """Cut before the first of them."""
        return min((at for stop in self.texts if (at := text.find(stop)) >= 0), default=None)

    def may_begin(self, text: str) -> int:
        """Number of characters at the end of `text` that may be the beginning of one of them."""
        longest = min(len(text), max(map(len, self.texts), default=1) - 1)
        ends = (size for size in range(longest, 0, -1) if any(stop.startswith(text[-size:]) for stop in self.texts))
        return next(ends, 0)


def rules(extent: Extent, cursor: Cursor, on: Collection[Rule]) -> list[Stop]:
    """All stops at `cursor`: the extent's own and those of `on` that apply there."""
    rest = cursor.rest.strip()
    found: list[Stop] = [_end(extent, cursor.line, rest), CharacterStop()]
    if cursor.held:
        found.append(IndentStop(cursor))
    first = next((line.strip() for line in cursor.below.split("\n") if line.strip()), "")
    if "suffix" in on and len(first) >= LONG_LINE:
        found.append(SuffixStop(first))
    if "bracket" in on and rest:
        found.append(BracketStop(rest[0]))
    if "repeat" in on:
        found.append(RepeatStop())
    return found


def characters(text: str) -> str:
    """`text` without an unfinished character at its end."""
    pending = len(text) - len(text.rstrip(REPLACEMENT))
    return text[: len(text) - min(pending, MOST_PENDING)]


def first(stops: Iterable[Stop], text: str) -> tuple[int, Reason] | None:
    """Index to cut `text` at and reason, of the stop that cuts earliest; None to go on."""
    fired: list[tuple[int, Reason]] = [(at, stop.reason) for stop in stops if (at := stop(text)) is not None]
    return min(fired, default=None)


def _end(extent: Extent, line: str, rest: str) -> Stop:
    """The extent's own stop, with `line` before the cursor and `rest` after it on the same line."""
    if extent == "line":
        return LineStop(rest_blank=not rest)
    return BlockStop(indentation(line) if line.strip() else None)


def _line_end(text: str, at: int) -> int | None:
    """End of the line that starts at `at`, None while it may still grow."""
    end = text.find("\n", at)
    return None if end < 0 else end
