"""Holes in a document as in requests from editors: a cursor position and the text that belongs there.

Boundaries are characters, not tokens, because requests occur in mid-word. This module is independent of the tokenizer:
`fits` decides whether a middle is short enough. A middle that is too long is replaced by another draw, never cut.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from math import exp, log
from random import Random
from typing import Literal

from starling_server.postprocess import syntax
from starling_server.postprocess.completion_scope import inside_word

Kind = Literal["line", "node", "block", "characters", "empty"]
Fits = Callable[["Span"], bool]

SHARES: dict[Kind, float] = {"line": 0.4, "node": 0.3, "block": 0.15, "characters": 0.1, "empty": 0.05}
"""Share of each kind: the rest of a line, a syntax node, the rest of a block, any characters, an empty middle. Spans
that follow the syntax train better than random ones (AST-T5, Gong et al. 2024, arXiv 2401.03003).
"""
LONGEST_CHARACTERS, LONGEST_NODE = 120, 1_000
ATTEMPTS, GIVE_UP = 12, 8
"""Draws of one kind before another kind is tried (flat text has no blocks), and failed kinds in a row before a document
is skipped (for example, a single line of noise).
"""
INDENT_CURSORS = 0.4
"""Share of cursors at the start of the line's text, as after Enter; the others are anywhere in the line."""


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]` is the middle."""

    start: int
    end: int
    kind: Kind

    @property
    def length(self) -> int:
        """Characters of the middle."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Hole:
    """`prefix + middle + suffix` is the document."""

    prefix: str
    middle: str
    suffix: str
    kind: Kind


def cut(text: str, span: Span) -> Hole:
    """The hole that `span` makes in `text`."""
    return Hole(text[: span.start], text[span.start : span.end], text[span.end :], span.kind)


def is_asked(text: str, span: Span) -> bool:
    """Whether a request at `span` reaches the model; requests inside a word do not (`extent`)."""
    return not inside_word(text[max(0, span.start - 1) : span.start], text[span.end : span.end + 1])


def draw(text: str, count: int, random: Random, fits: Fits, language: str | None = None) -> list[Span]:
    """Up to `count` spans of `text`; deterministic for the same state of `random`.

    Without a grammar for `language`, blocks replace syntax nodes.
    """
    return list(islice(_spans(text, random, fits, language), count))


def _spans(text: str, random: Random, fits: Fits, language: str | None) -> Iterator[Span]:
    lines = Lines(text, language)
    misses = 0
    while lines.visible and misses < GIVE_UP:
        kind = random.choices(list(SHARES), list(SHARES.values()))[0]
        span = _draw(kind, lines, random, fits)
        misses = misses + 1 if span is None else 0
        if span is not None:
            yield span


def _draw(kind: Kind, lines: "Lines", random: Random, fits: Fits) -> Span | None:
    """A span of this kind that fits, None after `ATTEMPTS` failed draws."""
    for _ in range(ATTEMPTS):
        span = DRAWS[kind](lines, random)
        if span is not None and fits(span):
            return span
    return None


class Lines:
    """Start, end and indentation of the lines of a text, and its syntax tree if there is a grammar."""

    def __init__(self, text: str, language: str | None = None) -> None:
        self.text = text
        self.syntax = syntax.parse(text, language)
        self._lines = text.split("\n")
        ends = accumulate(len(line) + 1 for line in self._lines)
        self._starts = [0, *ends]
        self.visible = [number for number, line in enumerate(self._lines) if line.strip(" \t")]
        """Numbers of the lines that are not blank."""

    def line(self, number: int) -> str:
        """The line without its newline."""
        return self._lines[number]

    def end(self, number: int) -> int:
        """Index after the line's last character, before its newline."""
        return self._starts[number] + len(self._lines[number])

    def indent(self, number: int) -> int:
        """Leading blanks of the line."""
        line = self._lines[number]
        return len(line) - len(line.lstrip(" \t"))

    def cursor(self, number: int, random: Random) -> int:
        """A likely cursor position in the line: the start of its text, or anywhere in it."""
        begin = self._starts[number] + self.indent(number)
        return begin if random.random() < INDENT_CURSORS else random.randrange(begin, self.end(number))

    def block_end(self, number: int) -> int:
        """Number of the last non-blank line of the block that contains line `number`; a line indented less ends it."""
        level, last = self.indent(number), number
        for following in range(number + 1, len(self._lines)):
            if self._lines[following].strip(" \t"):
                if self.indent(following) < level:
                    break
                last = following
        return last


def _draw_line(lines: Lines, random: Random) -> Span | None:
    """From a cursor to the end of its line."""
    number = random.choice(lines.visible)
    return Span(lines.cursor(number, random), lines.end(number), "line")


def _draw_node(lines: Lines, random: Random) -> Span | None:
    """One of the sufficiently short nodes around a random place in a line: a name, an argument, a call, a function."""
    if lines.syntax is None:
        block = _draw_block(lines, random)
        return block and Span(block.start, block.end, "node")
    number = random.choice(lines.visible)
    at = lines.cursor(number, random)
    nodes = [span for span in lines.syntax.around(at) if 0 < span[1] - span[0] <= LONGEST_NODE]
    if not nodes:
        return None
    start, end = random.choice(nodes)
    length = len(lines.text[start:end].rstrip())
    return Span(start, start + length, "node") if length else None


def _draw_block(lines: Lines, random: Random) -> Span | None:
    """From a cursor to the end of its block, or from the end of a line that opens a block."""
    number = random.choice(lines.visible)
    last = lines.block_end(number)
    if last == number:
        return None
    above = number - 1
    opens = above >= 0 and lines.line(above).strip() and lines.indent(above) < lines.indent(number)
    start = lines.end(above) if opens and random.random() < 0.5 else lines.cursor(number, random)
    return Span(start, lines.end(last), "block")


def _draw_characters(lines: Lines, random: Random) -> Span | None:
    """From any position to one a little later; lengths are log-uniform."""
    start = random.randrange(len(lines.text))
    length = round(exp(random.uniform(0, log(LONGEST_CHARACTERS))))
    return Span(start, min(start + length, len(lines.text)), "characters")


def _draw_empty(lines: Lines, random: Random) -> Span | None:
    """A cursor with an empty middle: trains the model to suggest nothing."""
    number = random.choice(lines.visible)
    at = lines.end(number) if random.random() < 0.5 else lines.cursor(number, random)
    return Span(at, at, "empty")


DRAWS: dict[Kind, Callable[[Lines, Random], Span | None]] = {
    "line": _draw_line,
    "node": _draw_node,
    "block": _draw_block,
    "characters": _draw_characters,
    "empty": _draw_empty,
}
