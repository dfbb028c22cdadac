"""Syntax trees by tree-sitter, for the languages whose grammars are installed.

Each grammar is a separate package with a compiled parser: collections of many grammars download them on first use,
which fails on an offline machine. Texts are parsed in another process (`parser_client`), because some texts of
a few kilobytes would exhaust memory; only that process then ends.
"""

from functools import cache
from importlib import import_module

from tree_sitter import Language

from starling_server.postprocess.parser_client import Source, client

GRAMMARS = {
    "C": ("tree_sitter_c", "language"),
    "C#": ("tree_sitter_c_sharp", "language"),
    "C++": ("tree_sitter_cpp", "language"),
    "Go": ("tree_sitter_go", "language"),
    "Java": ("tree_sitter_java", "language"),
    "JavaScript": ("tree_sitter_javascript", "language"),
    "PHP": ("tree_sitter_php", "language_php"),
    "Python": ("tree_sitter_python", "language"),
    "Ruby": ("tree_sitter_ruby", "language"),
    "Rust": ("tree_sitter_rust", "language"),
    "TypeScript": ("tree_sitter_typescript", "language_tsx"),
}
"""Package and function of each language's grammar. The TSX grammar is used for TypeScript, nearly all of which it
parses, since the file extension is not available here."""
CONTINUING = bytes(range(0x80, 0xC0))
"""UTF-8 continuation bytes."""


class Syntax:
    """A parsed text, indexed by characters; syntax errors do not prevent a tree."""

    def __init__(self, text: str, source: Source, whole: bool) -> None:
        self.whole = whole
        """Whether the text has no syntax error."""
        self._is_ascii = len(source.text) == len(text)
        self._text, self._source = text, source
        self._is_lost = False

    def around(self, at: int) -> list[tuple[int, int]]:
        """Begin and end of the named nodes around the character at index `at`, innermost first, without the root."""
        return [(begin, end) for _, begin, end in self.kinds(at)]

    def kinds(self, at: int) -> list[tuple[str, int, int]]:
        """Type, begin and end of the named nodes around the character at index `at`, innermost first.

        Empty if the query exceeds its limits of time or memory.
        """
        if self._is_lost:
            return []
        byte = at if self._is_ascii else len(self._text[:at].encode("utf-8", "replace"))
        found = client("suggestions").kinds(self._source, byte)
        self._is_lost = found is None
        return self._in_characters(found or [])

    def _in_characters(self, kinds: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
        if self._is_ascii:
            return [(kind, begin, end) for kind, begin, end in kinds]
        at, characters, index = 0, 0, dict[int, int]()
        for byte in sorted({place for _, begin, end in kinds for place in (begin, end)}):
            characters += len(self._source.text[at:byte].translate(None, CONTINUING))
            at = byte
            index[byte] = characters
        return [(kind, index[begin], index[end]) for kind, begin, end in kinds]


def parse(text: str, language: str | None) -> Syntax | None:
    """Parse `text`; None for a language without a grammar, or if parsing exceeds its limits of time or memory.

    The limits are 0.15 s and 64 MB, and proportionally more for a text over 37 kB (`parser_process`).
    """
    if language not in GRAMMARS:
        return None
    source = Source(*GRAMMARS[language], text.encode("utf-8", "replace"))
    whole = client("suggestions").parse(source)
    return None if whole is None else Syntax(text, source, whole)


@cache
def keywords(language: str | None) -> frozenset[str]:
    """Words that are tokens in the language's grammar; empty for a language without a grammar."""
    if language not in GRAMMARS:
        return frozenset()
    grammar = _grammar(language)
    kinds = (n for n in range(grammar.node_kind_count) if grammar.node_kind_is_visible(n))
    words = (grammar.node_kind_for_id(n) or "" for n in kinds if not grammar.node_kind_is_named(n))
    return frozenset(word for word in words if word.isidentifier())


def _grammar(language: str) -> Language:
    package, function = GRAMMARS[language]
    grammar: object = getattr(import_module(package), function)()
    return Language(grammar)
