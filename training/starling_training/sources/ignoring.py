"""Files of patterns in .gitignore's syntax, matched in bounded time whatever they hold.

pathspec turns a pattern into a regular expression that tries every way to share a path among its wildcards: sixty
letters against `*a*a*a*a*a*a*a*a*a*a*a*ab` took longer than anybody waits. Here every wildcard but the last one of a
segment, and every `**` but the last, takes the shortest stretch that fits and gives it back never (atomic groups). That
is enough for a match wherever there is one, as Python's `fnmatch` has it too: what comes later has the most room then.
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
"""Characters of a file of patterns, and of one pattern. GitHub's longest template has 9,000."""
MOST_CHECKS = 200_000_000
"""Patterns that are tried on names of one source, at some 2 microseconds each."""
_STAR, _ANY_FOLDERS, _BEGIN, _ANY_BEGIN = "[^/]*", "(?:/.+)?", "^", "^(?:.+/)?"
_ENDS = ("(?:(?P<ps_d>/)|$)", "(?P<ps_d>/)")
_TOKEN = re.compile(
    r"(?P<fixed>\^\(\?:\.\+/\)\?|\^|\(\?:/\.\+\)\?|\(\?:\(\?P<ps_d>/\)\|\$\)|\(\?P<ps_d>/\)|\[\^/\][*+]?)"
    r"|(?P<set>\[\^?(?:\\.|[^\\])(?:\\.|[^\]\\])*\])|\\.|[^\\]",
    re.DOTALL,
)
"""What pathspec's regular expressions are made of."""


class Pattern(GitIgnoreSpecPattern):
    """A pattern whose matching takes at most the product of its length and the path's, and a small factor."""

    __slots__ = ()

    @classmethod
    def pattern_to_regex(cls, pattern: AnyStr) -> tuple[AnyStr | None, bool | None]:
        """As pathspec's, in linear form; what git takes for no pattern matches nothing."""
        try:
            regex, include = super().pattern_to_regex(pattern)
        except GitIgnorePatternError:
            return None, None
        return (bounded(regex) if isinstance(regex, str) else regex), include


def parse(text: str, file: Path) -> GitIgnoreSpec:
    """The patterns in `text`, which stands in `file`; raises SourceError where they are too large to be matched.

    Leaving a pattern out would read what its author kept out, so none is left out.
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
    """The .gitignore files of a folder and of those below it."""

    def __init__(self, source: Path) -> None:
        self._source, self._specs, self._checks = source, dict[Path, GitIgnoreSpec](), 0

    def add(self, folder: Path, spec: GitIgnoreSpec) -> None:
        """`folder`, the source or one below it, has a .gitignore of these patterns."""
        self._specs[folder] = spec

    def exclude(self, path: Path, end: str = "") -> bool:
        """Whether the innermost file that says something about `path` excludes it; folders `end` in '/'.

        Raises SourceError where patterns and files are so many that this would take hours.
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
    """A regular expression of pathspec's in a form that matches the same and never goes back over its choices."""
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
    """A token; a set of characters has no '/', as in git."""
    return f"(?!/){match[0]}" if match["set"] else match[0]


def _first_fit(part: Sequence[str]) -> str:
    """What stands before a `**`: at the first place where it fits whole segments."""
    head, rest = part[0], "".join(_segments(part[1:]))
    lazy = {_ANY_BEGIN: "^(?:(?:.+?/)??", _BEGIN: "^(?:", _ANY_FOLDERS: "(?:(?:/.+?)??"}[head].replace("(?:", "(?>", 1)
    return f"{lazy}{rest}(?=/))"


def _segments(tokens: Sequence[str]) -> list[str]:
    """The tokens with each wildcard that has another one after it in its segment matched once."""
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
