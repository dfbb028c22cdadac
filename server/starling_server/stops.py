"""When a suggestion has said enough, judged on its text while it is generated. Pure: no tokens, no torch.

A stop looks at all text so far and answers with the index to cut at, or None to go on.
"""

import re
from dataclasses import dataclass
from typing import Literal, Protocol

from starling_server.config import Mode

Reason = Literal["line", "block"]
_OPENS_BLOCK = re.compile(r"([:{(\[]|=>|\b(?:then|do|begin|else))\s*$")
_CLOSER = re.compile(r"\s*([)\]}]|end\b)")


class Stop(Protocol):
    """A rule that ends a suggestion."""

    @property
    def reason(self) -> Reason:
        """What the answer's `finish_reason` says when this rule ended it."""
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
    """One block: until a line is indented less than it, or two blank lines follow each other."""

    opener_indent: int | None
    """Indentation of the line that opens the block, where the cursor is at its end; None on an empty line."""
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
                closes = width == self.opener_indent and _CLOSER.match(line)
                return _line_end(text, at) if closes else at - 1
            if visible and inner is None:
                inner = indentation(line)
            at += len(line) + 1
        return None


def indentation(line: str) -> int:
    """Characters of leading blanks."""
    return len(line) - len(line.lstrip(" \t"))


def stop_for(mode: Mode, prefix: str, suffix: str) -> Stop:
    """The rule for a cursor between `prefix` and `suffix`.

    `auto` is one line where text follows on the cursor's line or the line is under way, and a block on an empty
    line or after one that opens a block.
    """
    line = prefix[prefix.rfind("\n") + 1 :]
    rest = suffix.partition("\n")[0].strip()
    opens = bool(_OPENS_BLOCK.search(line))
    wanted = mode if mode != "auto" else "line" if rest or (line.strip() and not opens) else "block"
    if wanted == "line":
        return LineStop(rest_blank=not rest)
    return BlockStop(indentation(line) if line.strip() else None)


def _line_end(text: str, at: int) -> int | None:
    """End of the line that starts at `at`, None while it may still grow."""
    end = text.find("\n", at)
    return None if end < 0 else end
