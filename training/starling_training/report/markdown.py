"""Markdown from untrusted text, escaped, and tables."""

import re
from collections.abc import Sequence

from starling_server.printable import printable

_MEANT = re.compile(r"[\\`*\[\]<>|#~&!]")
"""Characters with a special meaning in Markdown or HTML."""
_BAR = re.compile(r"(?<!\\)\|")


def prose(text: str) -> str:
    """`text` in a sentence or a cell: markup and tags escaped, on one line."""
    return _MEANT.sub(r"\\\g<0>", printable(text))


def code(text: str) -> str:
    """`text` as a code span: its fence is longer than any run of backticks in it."""
    text = printable(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    blank = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{fence}{blank}{text}{blank}{fence}"


def block(text: str) -> str:
    """Lines of code between fences."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return "\n".join((fence, printable(text, keep="\n\t"), fence))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_BAR.sub(r"\\|", cell) for cell in line) + " |" for line in lines)
