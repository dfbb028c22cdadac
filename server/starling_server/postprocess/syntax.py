"""Syntax trees by tree-sitter, for the languages whose grammars are installed.

Each grammar is a package of its own with its parser compiled in: the collections of many grammars download them when
they are first used, which an offline machine cannot. Texts are parsed in another process (`parser_client`), which ends
over the few kilobytes that would take all memory, and ours goes on.
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
"""Package and function of each language's grammar. TSX reads nearly all of TypeScript too, and the extension is not
known here."""
CONTINUING = bytes(range(0x80, 0xC0))
"""Bytes that begin no character in UTF-8."""


class Syntax:
    """A parsed text, asked by characters; errors in it are parsed around."""

    def __init__(self, text: str, source: Source, whole: bool) -> None:
        self.whole = whole
        """Whether there is no error in it."""
        self._is_ascii = len(source.text) == len(text)
        self._text, self._source = text, source
        self._is_lost = False

    def around(self, at: int) -> list[tuple[int, int]]:
        """Begin and end of the named nodes that hold the character at index `at`, innermost first, without the root."""
        return [(begin, end) for _, begin, end in self.kinds(at)]

    def kinds(self, at: int) -> list[tuple[str, int, int]]:
        """Type, begin and end of the named nodes that hold the character at index `at`, innermost first.

        None of them where to find them takes more than it may.
        """
        if self._is_lost:
            return []
        byte = at if self._is_ascii else len(self._text[:at].encode("utf-8", "replace"))
        found = client().kinds(self._source, byte)
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
    """`text` as a tree; None for a language without a grammar here, and where parsing takes more than it may.

    A text takes up to 0.15 s and 64 MB, one over 37 kB in proportion more (`parser_process`).
    """
    if language not in GRAMMARS:
        return None
    source = Source(*GRAMMARS[language], text.encode("utf-8", "replace"))
    whole = client().parse(source)
    return None if whole is None else Syntax(text, source, whole)


@cache
def keywords(language: str | None) -> frozenset[str]:
    """Words that the language's grammar has as tokens of their own; none for a language without a grammar here."""
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
