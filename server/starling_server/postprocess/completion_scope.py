"""The extent of a suggestion at a cursor: nothing, one line or a block.

Decided by syntax where there is a grammar for the language, else by indentation and a line's last characters.
"""

import re
from dataclasses import dataclass
from typing import Literal

from starling_server.config import Mode
from starling_server.postprocess.syntax import GRAMMARS, parse
from starling_server.prompt.cursor import TAB, Cursor

Extent = Literal["nothing", "line", "block"]
NEAR = 20_000
"""Characters before the cursor, and a quarter of them after it, that are parsed: a millisecond or two."""
LANGUAGES = {
    **{name.lower(): name for name in GRAMMARS},
    **{"cpp": "C++", "cs": "C#", "csharp": "C#"},
    **{"javascriptreact": "JavaScript", "typescriptreact": "TypeScript"},
}
"""Grammar by an editor's language id."""
HEADS = {
    "python": re.compile(
        r"[\s)\]}]*(?:(?:async|case|class|def|elif|else|except|finally|for|if|match|try|while|with)\b.*:|->.*:|:)\s*$"
    ),
    "ruby": re.compile(r"^\s*(?:begin|case|class|def|for|if|module|unless|until|while)\b|\bdo\s*\|[^|]*\|\s*$"),
    "lua": re.compile(r"\bfunction\b[^()]*\([^)]*\)\s*$"),
}
"""Lines that open a block, where the last characters are not enough or (Python's colon) too general."""
_OPENS = re.compile(r"([:{(\[]|=>|->|\b(?:then|do|begin|else))\s*$")
_GOES_ON = re.compile(r"[-+*/%&|^=<>.,\\]\s*$|^\s*\}?\s*(?:else|elsif|ensure|repeat|rescue|when)\b")
"""Incomplete lines, and further block heads in languages without braces."""
LONGEST = 1_000
"""Max characters at a line's end that are matched: these patterns take quadratic time and hold the interpreter lock."""


@dataclass(frozen=True, slots=True)
class Around:
    """Whether the cursor is in a comment or a string."""

    comment: bool = False
    string: bool = False


def decide(cursor: Cursor, language: str | None, mode: Mode = "auto", comments: bool = True) -> Extent:
    """The extent of a suggestion at `cursor` in a document of `language` (an editor's id, None for unknown).

    Nothing inside a word, where a suggestion would split it; nothing inside comments unless `comments` is set. A `mode`
    other than `auto` is the extent itself.
    """
    line, rest = cursor.line, cursor.rest
    if inside_word(line, rest):
        return "nothing"
    around = look_around(cursor.prefix, cursor.suffix, LANGUAGES.get((language or "").lower()))
    if around.comment and not comments:
        return "nothing"
    if mode != "auto":
        return mode
    if rest.strip() or around.comment or around.string:
        return "line"
    if not line.strip():
        return "block"
    return "block" if opens_block(line, cursor.below, language) else "line"


def inside_word(line: str, rest: str) -> bool:
    """Whether the cursor has letters, digits or underscores on both sides."""
    return bool(line and rest) and _wordy(line[-1]) and _wordy(rest[0])


def opens_block(line: str, below: str, language: str | None) -> bool:
    """Whether `line` opens a block that does not exist yet, by the indentation of the lines below."""
    own, said = HEADS.get((language or "").lower()), _said(line)
    if not (_OPENS.search(said) or (own and own.search(said))):
        return False
    if own and language == "python" and said.endswith(":") and not own.match(said):
        return False
    following = next((each for each in below.split("\n") if each.strip()), "")
    return indentation(following) <= indentation(line)


def may_be_followed_deeper(line: str) -> bool:
    """Whether the line after `line` may be indented more, in any language."""
    said = _said(line)
    return any(found.search(said) for found in (_OPENS, _GOES_ON, *HEADS.values()))


def _said(line: str) -> str:
    """The line, stripped, or the end of a long one."""
    return line.strip()[-LONGEST:]


def look_around(prefix: str, suffix: str, grammar: str | None) -> Around:
    """Whether the cursor is in a comment or in a string; neither where there is no grammar."""
    near = prefix[-NEAR:]
    if len(prefix) > NEAR:  # from a line's beginning, where there is one
        near = near[near.find("\n") + 1 :]
    syntax = parse(near + suffix[: NEAR // 4], grammar) if near else None
    if syntax is None:
        return Around()
    at = len(near)
    kinds = syntax.kinds(at - 1)
    comment = any("comment" in kind and not _ended(near, begin, end, at) for kind, begin, end in kinds)
    string = any("string" in kind and begin < at < end for kind, begin, end in kinds)
    return Around(comment, string)


def _ended(text: str, begin: int, end: int, at: int) -> bool:
    """Whether a comment that starts at `begin` has ended at `at`; a line comment continues while it is typed."""
    return end <= at and text[begin : begin + 2] == "/*"


def _wordy(char: str) -> bool:
    return char.isalnum() or char == "_"


def indentation(line: str) -> int:
    """Columns of a line's leading blanks, `TAB` for a tab."""
    lead = line[: len(line) - len(line.lstrip(" \t"))]
    return len(lead.expandtabs(TAB))
