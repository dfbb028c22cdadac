"""The block of other files at a prompt's beginning, in the form that the base's family has learnt.

StarCoder2 (Lozhkov et al. 2024) writes `<repo_name>` and for each file `<file_sep>path`, a newline and its code,
StarCoder `<reponame>` and `<filename>path`; a base without such tokens gets comment lines. The block does not depend on
the cursor: while the pieces stay the same, so do its tokens and their positions.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from starling_server.files.languages import language
from starling_server.models.manifest import FimRecord
from starling_server.prompt.cursor import normalize
from starling_server.prompt.fim import Fim

Encode = Callable[[str], Sequence[int]]
TOKENS = 512
"""Max tokens of a block for a base that has learnt to read other files."""
SHARE = 0.25
"""Max share of a prompt's tokens."""
CHARS = 16
"""Max characters per token that are encoded: no text of code has longer tokens on average."""
FEWEST_LINES = 2
"""Lines of a piece, its path included, below which it is left out."""
HASH = frozenset({
    "CMake", "Crystal", "Docker", "Elixir", "GraphQL", "HCL", "Julia", "Just", "Make", "Meson", "Nim", "Nix", "Perl",
    "PowerShell", "Python", "R", "Ruby", "Shell", "Starlark", "Tcl",
})  # fmt: skip
"""Languages whose comments begin with `#`; the others' get `//`."""


class Excerpt(Protocol):
    """A piece of another file."""

    @property
    def path(self) -> str:
        """Its path in the repository."""
        ...

    @property
    def text(self) -> str:
        """Its lines."""
        ...


def limit(asked: int | None, fim: Fim, trained: FimRecord | None) -> int:
    """Max tokens of a block: as `asked`, else as the adapter has learnt, else `TOKENS` where the base has; 0 is none.

    A base that has learnt no other files may do worse with them: the bundled one gained nothing (docs/decisions.md).
    """
    if asked is not None:
        return asked
    learnt = trained.repository_tokens if trained is not None else 0
    return learnt or (TOKENS if fim.reads_files else 0)


def share(tokens: int, most: int) -> int:
    """Tokens for the block, of those for the whole prompt."""
    return min(most, int(tokens * SHARE))


def fit(pieces: Sequence[Excerpt], tokens: int, fim: Fim, encode: Encode) -> list[int]:
    """Ids of the block, at most `tokens`; `pieces` are most important first.

    The most important ends the block, nearest to the document's text, as in llama.cpp. The first that does not fit is
    cut at a line's end, and nothing less important follows. Special tokens that a text spells out are read as text.
    """
    return joined(parts(pieces, tokens, fim, encode), fim, encode)


def parts(pieces: Sequence[Excerpt], tokens: int, fim: Fim, encode: Encode) -> list[list[int]]:
    """Ids of each piece that fits, most important first."""
    left, made = tokens - len(_frame(fim, encode)), list[list[int]]()
    tail = [] if fim.file is None else [fim.file]
    for piece in pieces:
        ids, is_whole = _fitting(_written(piece, fim), left - len(tail), encode)
        if ids:
            made.append([*tail, *ids])
            left -= len(made[-1])
        if not is_whole:
            break
    return made


def joined(made: Sequence[Sequence[int]], fim: Fim, encode: Encode) -> list[int]:
    """Ids of the block with these parts; none without any."""
    if not made:
        return []
    head, tail = _head(fim, encode), [] if fim.file is None else [fim.file]
    return [*head, *(token for ids in reversed(made) for token in ids), *tail]


def _frame(fim: Fim, encode: Encode) -> list[int]:
    """What stands around the pieces."""
    return [*_head(fim, encode), *([] if fim.file is None else [fim.file])]


def _head(fim: Fim, encode: Encode) -> list[int]:
    return [] if fim.repository is None else [fim.repository, *encode(fim.repository_end)]


def _written(piece: Excerpt, fim: Fim) -> str:
    """A piece with its path, each line ended."""
    text = f"{' '.join(piece.path.split())}\n{normalize(piece.text).strip(chr(10))}\n"
    if fim.file is not None:
        return text
    mark = "# " if language(piece.path) in HASH else "// "
    return "".join(f"{mark}{line}".rstrip() + "\n" for line in text.splitlines())


def _fitting(text: str, tokens: int, encode: Encode) -> tuple[list[int], bool]:
    """Ids of the longest run of whole lines at the beginning of `text` that fits, and whether that is all of it.

    There are none for too few lines.
    """
    if tokens <= 0:
        return [], False
    lines = text[: tokens * CHARS].split("\n")[:-1]  # all of them end, but for one that is cut
    fewest, most = 0, len(lines)
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if len(encode(_ended(lines[:middle]))) <= tokens:
            fewest = middle
        else:
            most = middle - 1
    found = _ended(lines[:fewest])
    return (list(encode(found)), found == text) if fewest >= FEWEST_LINES else ([], False)


def _ended(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
