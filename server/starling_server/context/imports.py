"""Import statements of eleven languages, read by their common shape: a path of segments, and names.

By lines instead of a syntax tree, because the file at the cursor is unfinished and a choice must not wait for a parser.
"""

import re
from dataclasses import dataclass

MOST_CHARS, LONGEST = 40_000, 4_000
"""Characters of a file that are searched, and max characters of one statement."""
_START = re.compile(
    r"^[ \t]*(?:import\b|from\s+[\w.]|use\s|using\s|#\s*include\b|require(?:_relative)?\b"
    r"|export\s.{0,300}\bfrom\b|(?:const|let|var)\s.{0,300}\brequire\()",
    re.MULTILINE,
)
_QUOTED = re.compile(r"['\"]([^'\"\n]{1,200})['\"]|<([\w./+-]{1,200})>")
_PATH = re.compile(r"\.{0,8}[A-Za-z_]\w*(?:(?:\.|::|\\)\w+)*|\.{1,8}")
_NAME = re.compile(r"[A-Za-z_]\w*")
_SPLIT = re.compile(r"[./\\:]+")
WORDS = frozenset({
    "import", "from", "as", "use", "using", "static", "include", "require", "require_relative", "export", "const",
    "let", "var", "type", "default", "function", "crate", "self", "super", "pub", "mod", "namespace", "global",
})  # fmt: skip
ENDINGS = frozenset({
    "py", "js", "jsx", "ts", "tsx", "mjs", "cjs", "h", "hh", "hpp", "hxx", "rb", "php", "rs", "go", "java", "cs",
})  # fmt: skip
"""Extensions that a quoted path may end with."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module."""

    module: tuple[str, ...]
    """Segments of its path, such as `("rich", "console")`."""
    relative: bool
    """Whether the path starts at the importing file's folder or package."""
    names: tuple[str, ...]
    """Names that the statement mentions besides."""


def imports(text: str) -> tuple[Import, ...]:
    """The modules that a file's import statements name."""
    return tuple(made for statement in statements(text) for made in parse(statement))


def statements(text: str) -> list[str]:
    """Import statements near a text's beginning; brackets may span lines."""
    head, found, end = text[:MOST_CHARS], list[str](), 0
    for match in _START.finditer(head):
        if match.start() < end:
            continue
        end = _line_end(head, match.end())
        while _is_open(head[match.start() : end]) and end < min(len(head), match.start() + LONGEST):
            end = _line_end(head, end + 1)
        found.append(head[match.start() : min(end, match.start() + LONGEST)])
    return found


def _line_end(text: str, at: int) -> int:
    newline = text.find("\n", at)
    return len(text) if newline < 0 else newline


def parse(statement: str) -> list[Import]:
    """The modules of one statement; several for Go's blocks and `import a, b`."""
    quoted = [one or other for one, other in _QUOTED.findall(statement)]
    if quoted:
        names = _names(_QUOTED.sub(" ", statement))
        return [_import(path, names, path.startswith(".")) for path in quoted]
    paths = [path for path in _PATH.findall(statement) if path not in WORDS]
    if not paths:
        return []
    if statement.lstrip().startswith("import") and "," in statement:  # Python: import a, b
        return [_import(path, (), False) for path in paths]
    path, *others = paths
    relative = path.startswith((".", "crate", "self", "super"))
    return [_import(path, tuple(word for other in others for word in _names(other)), relative)]


def _import(path: str, names: tuple[str, ...], relative: bool) -> Import:
    segments = [part for part in _SPLIT.split(path) if part and part not in WORDS]
    if (len(segments) > 1 and segments[-1] in ENDINGS and "/" in path) or (
        len(segments) == 2 and segments[-1] in ENDINGS and "." in path
    ):
        segments.pop()
    return Import(tuple(segments), relative, names)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in _NAME.findall(text) if word not in WORDS))


def _is_open(text: str) -> bool:
    return text.count("(") + text.count("{") > text.count(")") + text.count("}")
