"""The text around a cursor, computed once per request: what the window, the scope, the stops and the filters read."""

from dataclasses import dataclass

TAB = 4
"""Columns of a tab."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a document. All texts have plain newlines; `Cursor.at` makes one."""

    prefix: str
    """Text before the cursor."""
    suffix: str
    """Text after the cursor."""
    newline: str
    """The document's own newline, `"\\n"` or `"\\r\\n"`."""
    head: str
    """`prefix` without `held`: what the prompt may hold."""
    held: str
    """Blanks held back from the prompt (`hold_blanks`); the model's text starts with them."""
    line_start: int
    """Index in `prefix` at which the cursor's line starts."""

    @classmethod
    def at(cls, prefix: str, suffix: str = "") -> "Cursor":
        """The cursor between `prefix` and `suffix`, with newlines as the document has them."""
        newline = "\r\n" if "\r\n" in prefix or "\r\n" in suffix else "\n"
        prefix, suffix = normalize(prefix), normalize(suffix)
        return cls(prefix, suffix, newline, *hold_blanks(prefix), prefix.rfind("\n") + 1)

    @property
    def line(self) -> str:
        """The cursor's line up to the cursor."""
        return self.prefix[self.line_start :]

    @property
    def rest(self) -> str:
        """The cursor's line from the cursor on."""
        return self.suffix.partition("\n")[0]

    @property
    def below(self) -> str:
        """The lines below the cursor's line."""
        return self.suffix.partition("\n")[2]

    def after_held(self, text: str) -> str | None:
        """The part of the model's `text` that follows the held blanks; None where `text` lacks them.

        Empty while `text` may still grow to contain them. Where they indent the line, spaces may stand for tabs.
        """
        indents = self.head[-1:] in ("", "\n")
        if self.held and indents:
            text = text.lstrip("\n")
        if text.startswith(self.held):
            return text[len(self.held) :]
        if self.held.startswith(text):
            return ""
        return _after_columns(text, len(self.held.expandtabs(TAB))) if indents else None

    def in_document(self, text: str) -> str:
        """`text` with the document's own newlines."""
        return text.replace("\n", self.newline)


def _after_columns(text: str, columns: int) -> str | None:
    """The part of `text` that follows blanks of this width; empty where it is narrower and blank, None otherwise."""
    blanks = text[: len(text) - len(text.lstrip(" \t"))]
    wide = next((size for size in range(len(blanks) + 1) if len(blanks[:size].expandtabs(TAB)) >= columns), None)
    if wide is None:
        return "" if blanks == text else None
    return text[wide:] if len(blanks[:wide].expandtabs(TAB)) == columns else None


def normalize(text: str) -> str:
    """`text` with newlines as the model has learnt them."""
    return text.replace("\r\n", "\n")


def hold_blanks(prefix: str) -> tuple[str, str]:
    """Split off the blanks of a line that holds nothing else, or the space that a line ends with.

    `"a:\\n    "` -> `("a:\\n", "    ")`, `"x = "` -> `("x =", " ")`. A tokenizer joins indentation, and a space before
    a word, with what follows: a prompt that ends inside shows the model a sequence that real text hardly ever has (a
    space by itself stands before a comment in Python, so the model wrote comments).
    """
    line_start = prefix.rfind("\n") + 1
    line = prefix[line_start:]
    if line and not line.strip(" \t"):
        return prefix[:line_start], line
    return (prefix[:-1], " ") if line.endswith(" ") else (prefix, "")
