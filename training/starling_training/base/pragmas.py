"""Comments that speak to a tool, not to a reader: a base that has read many says `# noqa` at the ends of lines."""

import re

PRAGMA = re.compile(
    r"[ \t]+#[ \t]*(?:ty(?:pe)?: ?ignore|noqa|nosec|(?:pragma|pylint|pyright|mypy|ruff|flake8|isort|fmt|yapf):)[^\n]*"
)
"""At the end of a line with code."""


def without(text: str) -> str:
    """`text` without them; a comment that has a line of its own stays."""
    return PRAGMA.sub(_kept, text)


def _kept(found: re.Match[str]) -> str:
    alone = found.start() == 0 or found.string[found.start() - 1] == "\n"
    return found[0] if alone else ""
