"""What a file defines and imports, by tree-sitter: names with their signatures and the first line of their docs.

Files are parsed in the index's own parser process, under the limits of `postprocess.parser_process`.
"""

import json
import re
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from starling_server.context.queries import QUERIES
from starling_server.postprocess.parser_client import Source, client
from starling_server.postprocess.syntax import GRAMMARS

Kind = Literal["function", "class", "constant"]
KINDS: tuple[Kind, ...] = ("function", "class", "constant")
LONGEST_SIGNATURE, LONGEST_DOC, LONGEST_IMPORT = 400, 120, 500
"""Max characters; signatures and imports are source text, of one or several lines."""
MOST = 2_000
"""Max definitions kept of one file, and max imports."""
_DOCSTRING = re.compile(r"\s*[rRuU]?(\"\"\"|'''|\"|')")
_COMMENT = re.compile(r"\s*(?:///?!?|/\*+|\*/?|#(?!\[|include|define|if|endif|pragma))")
"""Marks only: what follows is stripped by hand, since blanks on both sides of a lazy match take cubic time."""
_ATTRIBUTE = re.compile(r"\s*(?:@|#\[|\[)")
_CALLED = re.compile(r"([A-Za-z_~][\w]*)\s*\(")
COMMENT_LINES = 20
"""Max lines above a definition that are read for its doc."""


class Definition(NamedTuple):
    """A function, method, class or constant. A tuple, of which a choice makes hundreds."""

    name: str
    kind: Kind
    signature: str
    """Source text from the definition's line up to its body, indentation included."""
    doc: str
    """First line of its docstring or of the comment above; empty without one."""
    first: int
    """Its first line, zero-based."""
    last: int
    """Its last line."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One file's definitions and import statements, in the order of the text."""

    definitions: tuple[Definition, ...] = ()
    imports: tuple[str, ...] = ()

    def members(self, owner: Definition) -> list[Definition]:
        """What stands directly inside a class."""
        inside = [each for each in self.definitions if owner.first < each.first and each.last <= owner.last]
        width = min((_indent(each.signature) for each in inside), default=0)
        return [each for each in inside if _indent(each.signature) == width]

    def owner(self, member: Definition) -> Definition | None:
        """The innermost class around a definition."""
        around = [
            each
            for each in self.definitions
            if each.kind == "class" and each is not member and each.first <= member.first and member.last <= each.last
        ]
        return max(around, key=lambda each: each.first, default=None)


def outline(text: str, language: str | None) -> Outline:
    """The outline of a file; empty for a language without a grammar and where parsing exceeds its limits."""
    if language not in GRAMMARS:
        return Outline()
    source = Source(*GRAMMARS[language], text.encode("utf-8", "replace"))
    found = client("index").matches(source, QUERIES[language])
    return Outline() if found is None else _outline(source.text, found)


def pack(made: Outline) -> bytes:
    """An outline as bytes, a tenth of the objects' size."""
    return zlib.compress(json.dumps([made.definitions, made.imports]).encode(), 1)


def unpack(packed: bytes) -> Outline:
    """The outline that `pack` wrote."""
    rows, imports = json.loads(zlib.decompress(packed))
    return Outline(tuple(map(Definition._make, rows)), tuple(imports))


def _outline(source: bytes, found: list[dict[str, Any]]) -> Outline:
    breaks = [at.start() for at in re.finditer(b"\n", source)]
    lines = source.decode("utf-8", "replace").split("\n")
    definitions, imports = dict[int, Definition](), list[str]()
    for match in found:
        if "import" in match:
            begin, end = match["import"]
            imports.append(source[begin : min(end, begin + LONGEST_IMPORT)].decode("utf-8", "replace"))
            continue
        made = _definition(source, match, breaks, lines)
        if made is not None:
            at = (match.get("name") or match["named"])[0]
            if made.kind != "constant" or at not in definitions:  # an arrow function is a constant too
                definitions[at] = made
    ordered = sorted(definitions.values(), key=lambda each: (each.first, -each.last))
    return Outline(tuple(ordered[:MOST]), tuple(imports[:MOST]))


def _definition(source: bytes, match: dict[str, Any], breaks: list[int], lines: list[str]) -> Definition | None:
    kind: Kind = next(each for each in KINDS if each in match)
    begin, end = match[kind]
    name = _name(source, match)
    if name is None:
        return None
    first, last = bisect_right(breaks, begin - 1), bisect_right(breaks, end - 1)
    start = breaks[first - 1] + 1 if first else 0
    until = match["body"][0] if "body" in match else end
    signature = source[start : min(until, start + LONGEST_SIGNATURE)].decode("utf-8", "ignore").rstrip()
    if kind == "constant":
        signature = signature.partition("\n")[0]
    inside = source[until : until + LONGEST_SIGNATURE].decode("utf-8", "ignore") if "body" in match else ""
    return Definition(name, kind, signature, _doc(inside, lines, first), first, last)


def _name(source: bytes, match: dict[str, Any]) -> str | None:
    """The name's text; of a C declarator, the last word before its parameters."""
    begin, end = match["name"] if "name" in match else match["named"]
    text = source[begin:end].decode("utf-8", "replace")
    if "name" in match:
        return text[:LONGEST_DOC]
    called = _CALLED.search(text)
    return called[1] if called else None


def _doc(body: str, lines: list[str], first: int) -> str:
    """The first line of the docstring, else of the comment above, without its marks."""
    inside = _DOCSTRING.match(body)
    if inside:
        return body[inside.end() :].strip().partition("\n")[0].partition(inside[1])[0].strip()[:LONGEST_DOC]
    said = ""
    for line in reversed(lines[max(0, first - COMMENT_LINES) : first]):
        comment = _COMMENT.match(line)
        if comment:
            said = line[comment.end() :][:1_000].strip().removesuffix("*/").strip() or said
        elif not _ATTRIBUTE.match(line):
            break
    return said[:LONGEST_DOC]


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())
