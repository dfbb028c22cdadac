"""Syntax trees by tree-sitter, for the languages whose grammars are installed.

Each grammar is a package of its own with its parser compiled in: the collections of many grammars download them when
they are first used, which an offline machine cannot.
"""

from functools import cache
from importlib import import_module

from tree_sitter import Language, Node, Parser, Tree

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


class Syntax:
    """A parsed text, asked by characters; errors in it are parsed around."""

    def __init__(self, text: str, tree: Tree) -> None:
        self._bytes = text.encode("utf-8", "replace")
        self._is_ascii = len(self._bytes) == len(text)
        self._text, self._tree = text, tree

    def around(self, at: int) -> list[tuple[int, int]]:
        """Begin and end of the named nodes that hold the character at index `at`, innermost first, without the root."""
        return [(begin, end) for _, begin, end in self.kinds(at)]

    def kinds(self, at: int) -> list[tuple[str, int, int]]:
        """Type, begin and end of the named nodes that hold the character at index `at`, innermost first."""
        byte = at if self._is_ascii else len(self._text[:at].encode("utf-8", "replace"))
        node: Node | None = self._tree.root_node.named_descendant_for_byte_range(byte, byte + 1)
        found = list[tuple[str, int, int]]()
        while node is not None and node.parent is not None:
            found.append((node.type, self._index(node.start_byte), self._index(node.end_byte)))
            node = node.parent
        return found

    @property
    def whole(self) -> bool:
        """Whether there is no error in it."""
        return not self._tree.root_node.has_error

    def _index(self, byte: int) -> int:
        return byte if self._is_ascii else len(self._bytes[:byte].decode("utf-8", "replace"))


def parse(text: str, language: str | None) -> Syntax | None:
    """`text` as a tree; None for a language without a grammar here."""
    parser = _parser(language) if language in GRAMMARS else None
    return Syntax(text, parser.parse(text.encode("utf-8", "replace"))) if parser else None


@cache
def keywords(language: str | None) -> frozenset[str]:
    """Words that the language's grammar has as tokens of their own; none for a language without a grammar here."""
    if language not in GRAMMARS:
        return frozenset()
    grammar = _grammar(language)
    kinds = (n for n in range(grammar.node_kind_count) if grammar.node_kind_is_visible(n))
    words = (grammar.node_kind_for_id(n) or "" for n in kinds if not grammar.node_kind_is_named(n))
    return frozenset(word for word in words if word.isidentifier())


@cache
def _parser(language: str) -> Parser:
    return Parser(_grammar(language))


def _grammar(language: str) -> Language:
    package, function = GRAMMARS[language]
    grammar: object = getattr(import_module(package), function)()
    return Language(grammar)
