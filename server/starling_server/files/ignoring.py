"""Pattern files in .gitignore syntax, matched in bounded time for any input.

pathspec turns a pattern into a regular expression that tries every split of a path among its wildcards: matching sixty
letters against `*a*a*a*a*a*a*a*a*a*a*a*ab` takes too long to wait for. Here every wildcard but the last of a segment,
and every `**` but the last, takes the shortest match and never backtracks (atomic groups). This still finds every
match, as in Python's `fnmatch`, because the shortest match leaves the most text for the rest of the pattern.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import AnyStr

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from starling_server.errors import SourceError

MOST_CHARS, LONGEST = 500_000, 1_000
"""Max characters of a pattern file and of one pattern. GitHub's longest template has 9,000."""
MOST_CHECKS = 200_000_000
"""Max pattern checks for one source, at about 2 microseconds each."""
_STAR, _ANY_FOLDERS, _BEGIN, _ANY_BEGIN = "[^/]*", "(?:/.+)?", "^", "^(?:.+/)?"
_ENDS = ("(?:(?P<ps_d>/)|$)", "(?P<ps_d>/)")
_TOKEN = re.compile(
    r"(?P<fixed>\^\(\?:\.\+/\)\?|\^|\(\?:/\.\+\)\?|\(\?:\(\?P<ps_d>/\)\|\$\)|\(\?P<ps_d>/\)|\[\^/\][*+]?)"
    r"|(?P<set>\[\^?(?:\\.|[^\\])(?:\\.|[^\]\\])*\])|\\.|[^\\]",
    re.DOTALL,
)
"""Tokens of the regular expressions that pathspec generates."""


class Pattern(GitIgnoreSpecPattern):
    """A pattern with a matching time bounded by the product of pattern and path lengths, times a small factor."""

    __slots__ = ()

    @classmethod
    def pattern_to_regex(cls, pattern: AnyStr) -> tuple[AnyStr | None, bool | None]:
        """pathspec's regular expression in linear form; an invalid pattern matches nothing, as in git."""
        try:
            regex, include = super().pattern_to_regex(pattern)
        except GitIgnorePatternError:
            return None, None
        return (bounded(regex) if isinstance(regex, str) else regex), include


def parse(text: str, file: Path) -> GitIgnoreSpec:
    """The patterns in `text`, the content of `file`; raises SourceError if they are too large to match.

    No pattern is skipped, because files that its author excluded would then be read.
    """
    if len(text) > MOST_CHARS:
        raise SourceError(
            f"{file} has more than {MOST_CHARS:,} characters of patterns: name whole folders in it instead of files."
        )
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST:
            raise SourceError(
                f"Line {number} of {file} has {len(line):,} characters, and a pattern may have {LONGEST:,}: shorten "
                "it or remove it."
            )
    return GitIgnoreSpec.from_lines(lines, Pattern)


class Rules:
    """The .gitignore files of a folder and its subfolders."""

    def __init__(self, source: Path) -> None:
        self._source, self._specs, self._checks = source, dict[Path, GitIgnoreSpec](), 0

    def add(self, folder: Path, spec: GitIgnoreSpec) -> None:
        """Add the .gitignore patterns of `folder`, the source itself or a subfolder."""
        self._specs[folder] = spec

    def exclude(self, path: Path, end: str = "") -> bool:
        """Whether the innermost .gitignore file that matches `path` excludes it; for folders, `end` is '/'.

        Raises SourceError if there are so many patterns and files that matching would take hours.
        """
        for folder in path.parents:
            if spec := self._specs.get(folder):
                self._count(len(spec))
                verdict = spec.check_file(path.relative_to(folder).as_posix() + end).include
                if verdict is not None:
                    return verdict
            if folder == self._source:
                break
        return False

    def _count(self, patterns: int) -> None:
        self._checks += patterns
        if self._checks > MOST_CHECKS:
            raise SourceError(
                f"The .gitignore files of {self._source} have too many patterns for its many files: name a folder in "
                "it, or put it under git, which knows its files."
            )


def bounded(regex: str) -> str:
    """An equivalent of pathspec's regular expression that does not backtrack."""
    tokens = [_within_segment(match) for match in _TOKEN.finditer(regex)]
    parts, part = list[list[str]](), list[str]()
    for token in tokens:
        if token == _ANY_FOLDERS:
            parts.append(part)
            part = []
        part.append(token)
    *before, last = [*parts, part]
    return "".join([*map(_first_fit, before), "".join(_segments(last))])


def _within_segment(match: re.Match[str]) -> str:
    """One token; a character set does not match '/', as in git."""
    return f"(?!/){match[0]}" if match["set"] else match[0]


def _first_fit(part: Sequence[str]) -> str:
    """The part before a `**`, matched at the first place where it fits whole segments."""
    head, rest = part[0], "".join(_segments(part[1:]))
    lazy = {_ANY_BEGIN: "^(?:(?:.+?/)??", _BEGIN: "^(?:", _ANY_FOLDERS: "(?:(?:/.+?)??"}[head].replace("(?:", "(?>", 1)
    return f"{lazy}{rest}(?=/))"


def _segments(tokens: Sequence[str]) -> list[str]:
    """The tokens, with each wildcard followed by another in its segment made atomic."""
    made, at = list[str](), 0
    while at < len(tokens):
        if tokens[at] != _STAR:
            made.append(tokens[at])
            at += 1
            continue
        end = at + 1
        while end < len(tokens) and tokens[end] not in ("/", _STAR, *_ENDS):
            end += 1
        chunk = "".join(tokens[at + 1 : end])
        another = end < len(tokens) and tokens[end] == _STAR
        made.append((f"(?>[^/]*?{chunk})" if chunk else "") if another else _STAR + chunk)
        at = end
    return made
