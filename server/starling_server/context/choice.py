"""What other files have to say about a place: definitions first, then similar chunks, within a budget of tokens.

Definitions are those of names near the cursor and of what the file imports, resolved by module path first and by name
second. They get at most half of the budget: on Qwen2.5-Coder-0.5B, BM25 chunks added 3 of 45 exact holes of sqlglot
and definitions none (docs/decisions.md). The choice is a pure function of the index and the place.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Literal, get_args

from starling_server.context.block import TOKENS
from starling_server.context.imports import Import, imports, parse
from starling_server.context.index import Index, segments
from starling_server.context.outline import Definition
from starling_server.context.scope import enclosing

Why = Literal["import", "name", "similar"]
Part = Literal["definitions", "similar"]
BOTH: tuple[Part, ...] = get_args(Part)
CHARS_PER_TOKEN = 3
"""A low estimate, as in `prompt.window`: the caller cuts exactly."""
DEFINITIONS = 0.5
"""Share of the budget that definitions may take."""
ABOVE, BELOW = 10, 4
"""Lines around the cursor whose names count. Wider windows find fewer of a hole's new names (docs/decisions.md)."""
WINDOW = 20_000
"""Characters on either side of the cursor that count as seen."""
MOST_NAMES = 60
"""Names near the cursor, nearest first."""
MOST_IMPORTED = 200
"""Imported names that are looked up."""
ROOTS = frozenset({("src",), ("lib",), ("include",), ("python",)})
"""Folders whose modules are imported without the folder's name."""
FAMOUS = 4
"""A name that more files define says nothing about which is meant, unless the file imports it."""
SIMILAR = 8
"""Chunks that are looked at."""
LEAST = 60
"""Characters below which no further piece is looked for."""
MOST_MEMBERS = 8
"""Methods shown of a class."""
SEEN = 0.5
"""Share of a piece's lines in the window at which it says nothing new."""
TELLING = 10
"""Visible characters of a line that tells texts apart."""
MOST_PLACES = 64
"""Files whose choice is kept."""
Renew = Literal["jump", "changed", "always"]
"""When a choice is made again: at a jump to another definition, or from another file if the index has changed since;
also in place if it has, as for a cursor at rest; always."""
_NAME = re.compile(r"[A-Za-z_]\w{2,80}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of another file."""

    path: str
    """Relative to the repository, with '/'."""
    text: str
    why: Why
    """`import`: the file imports it; `name`: a name near the cursor; `similar`: by BM25."""
    score: float
    """For comparison within one choice: definitions above 1, chunks below."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor in a file of the repository. Texts have plain newlines."""

    path: str
    """Relative to the repository, with '/'."""
    prefix: str
    suffix: str = ""

    @property
    def window(self) -> str:
        """At least what the prompt holds of the file."""
        return self.prefix[-WINDOW:] + self.suffix[:WINDOW]

    @property
    def near(self) -> str:
        """The lines around the cursor."""
        return f"{self.above}\n{self.below}"

    @property
    def above(self) -> str:
        """The lines above the cursor, and its line up to it."""
        return "\n".join(self.prefix[-WINDOW:].rsplit("\n", ABOVE)[-ABOVE:])

    @property
    def below(self) -> str:
        """The rest of the cursor's line, and the lines below."""
        return "\n".join(self.suffix[:WINDOW].split("\n", BELOW)[:BELOW])


def choose(index: Index, place: Place, tokens: int = TOKENS, parts: tuple[Part, ...] = BOTH) -> tuple[Piece, ...]:
    """Pieces of other files for `place`, most important first, in about `tokens` tokens together.

    A single one of `parts` gets the whole budget.
    """
    room = tokens * CHARS_PER_TOKEN
    seen = _lines(place.window)
    chosen = list[Piece]()
    first = int(room * DEFINITIONS) if "similar" in parts else room
    left = _fill(_definitions(index, place), first, seen, chosen) if "definitions" in parts else first
    if "similar" in parts:
        _fill(_similar(index, place), left + room - first, seen, chosen)
    return tuple(sorted(chosen, key=lambda each: -each.score))


@dataclass(frozen=True, slots=True)
class _Kept:
    """The choice of one file."""

    around: str
    """The enclosing definition."""
    tokens: int
    version: int
    """The index's."""
    pieces: tuple[Piece, ...]


class Chooser:
    """Choices that hold still while a person types in one definition. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept, self._last = OrderedDict[str, _Kept](), ""
        self._lock = Lock()

    def pieces(self, place: Place, tokens: int = TOKENS, renew: Renew = "jump") -> tuple[Piece, ...]:
        """The choice for `place`: the last one, unless `renew` says otherwise or a file of it is gone."""
        around, version = enclosing(place.prefix), self._index.version
        with self._lock:
            kept, switched = self._kept.get(place.path), self._last != place.path
        is_good = (
            kept is not None
            and renew != "always"
            and (kept.around, kept.tokens) == (around, tokens)
            and (kept.version == version or not (switched or renew == "changed"))
            and all(self._index.entry(piece.path) for piece in kept.pieces)
        )
        if kept is None or not is_good:
            kept = _Kept(around, tokens, version, choose(self._index, place, tokens))
        with self._lock:
            self._last = place.path
            self._kept[place.path] = kept
            self._kept.move_to_end(place.path)
            while len(self._kept) > MOST_PLACES:
                self._kept.popitem(last=False)
        return kept.pieces


def _fill(pieces: Iterable[Piece], left: int, seen: set[str], chosen: list[Piece]) -> int:
    """Add pieces while there is room; returns what is left of it."""
    for piece in pieces:
        left = _take(piece, left, seen, chosen)
        if left < LEAST:
            break
    return left


def _take(piece: Piece, left: int, seen: set[str], chosen: list[Piece]) -> int:
    """Add `piece` where half of it fits `left` characters and it says something new; returns what is left."""
    size = len(piece.text) + len(piece.path) + 2 * CHARS_PER_TOKEN
    if size > 2 * left or any(piece.text in each.text for each in chosen if each.path == piece.path):
        return left
    lines = _lines(piece.text)
    if not lines or len(lines & seen) >= SEEN * len(lines):
        return left
    seen |= lines
    chosen.append(piece)
    return left - size


def _lines(text: str) -> set[str]:
    return {line for each in text.split("\n") if len(line := each.strip()) >= TELLING}


def _definitions(index: Index, place: Place) -> Iterator[Piece]:
    """Definitions by what is imported and near, near, imported; each once."""
    imported, text = _imported(index, place), place.near
    near = [name for name in _names(place) if place.path not in index.defining(name)]
    wanted = [(name, path, "import", 4.0) for name in near for path in imported.get(name, ())]
    wanted += [(name, path, "name", 3.0) for name in near for path in _by_name(index, place, name)]
    wanted += [(name, path, "import", 2.0) for name in imported for path in imported[name]]
    told = set[tuple[str, str]]()
    for number, (name, path, why, score) in enumerate(wanted):
        if path != place.path and (path, name) not in told:
            told.add((path, name))
            for found in index.definitions(path, name)[:2]:
                if why == "name" and found.kind == "function" and f"{name}(" not in text:
                    continue
                shown = _shown(index, path, found)
                yield Piece(path, shown, "import" if why == "import" else "name", score - number / (1 + len(wanted)))


def _similar(index: Index, place: Place) -> Iterator[Piece]:
    """Chunks of other files that are most like the lines around the cursor."""
    for found in index.search(place.near, SIMILAR, place.path):
        yield Piece(found.path, found.text, "similar", found.score / (1 + found.score))


def _names(place: Place) -> list[str]:
    """Names near the cursor, nearest first."""
    before, after = _NAME.findall(place.above), _NAME.findall(place.below)
    return list(dict.fromkeys([*reversed(before), *after]))[:MOST_NAMES]


def _by_name(index: Index, place: Place, name: str) -> list[str]:
    """The files that define a rare name, nearest first."""
    paths = [path for path in index.defining(name) if path != place.path]
    if len(paths) > FAMOUS or name.startswith("__"):
        return []
    return sorted(paths, key=lambda path: _distance(place.path, path))


def _imported(index: Index, place: Place) -> dict[str, tuple[str, ...]]:
    """The files that define what the file imports, by name."""
    found = dict[str, tuple[str, ...]]()
    for path, name in islice(_named(index, place), MOST_IMPORTED):
        at = _defining(index, path, name)
        if at is not None and at not in found.get(name, ()):
            found[name] = (*found.get(name, ()), at)
    return found


def _named(index: Index, place: Place) -> Iterator[tuple[str, str]]:
    """Files that the import statements lead to, with each name that they mention."""
    for each in imports(place.prefix + place.suffix):
        for path in resolve(index, each, place.path):
            for name in (*each.names, *each.module[-1:]):
                yield path, name


def _defining(index: Index, path: str, name: str) -> str | None:
    """`path`, or the file from which it imports `name` in turn; None where neither defines it."""
    if path in index.defining(name):
        return path
    entry = index.entry(path)
    statements = [said for said in entry.outline.imports if name in said] if entry else []
    further = (other for said in statements for each in parse(said) for other in resolve(index, each, path))
    return next((other for other in further if other in index.defining(name)), None)


def resolve(index: Index, wanted: Import, importer: str) -> list[str]:
    """The files of a module, those that match most of its path, nearest to the importing file first."""
    best, length = list[str](), 0
    for module in (wanted.module, wanted.module[:-1]):
        least = 1 if wanted.relative else min(2, len(module))
        for path in index.modules(module[-1]) if module else ():
            found = segments(path)
            same = _common(reversed(found), reversed(module))
            if same < max(least, length) or path == importer or (same == 1 and not _is_near(found[:-1], importer)):
                continue
            best, length = ([*best, path] if same == length else [path]), same
        if best:
            break
    return sorted(best, key=lambda path: _distance(importer, path))[:2]


def _is_near(folder: Sequence[str], importer: str) -> bool:
    """Whether a file of `folder` may be imported by one name: from the same folder or above, or from a root of code."""
    return tuple(folder) in ROOTS or list(folder) == importer.split("/")[: len(folder)]


def _shown(index: Index, path: str, found: Definition) -> str:
    """A definition's signature with its doc, under its class, or with its methods."""
    entry = index.entry(path)
    lines = [found.signature.rstrip()]
    if found.doc and found.kind != "constant":
        lines.append(" " * (len(found.signature) - len(found.signature.lstrip()) + 4) + found.doc)
    if entry is not None and found.kind == "class":
        members = [each for each in entry.outline.members(found) if each.kind == "function"]
        lines += [each.signature.rstrip() for each in members[:MOST_MEMBERS]]
    owner = entry.outline.owner(found) if entry is not None else None
    return "\n".join([owner.signature.rstrip(), *lines] if owner is not None else lines)


def _distance(here: str, there: str) -> tuple[int, str]:
    """Folders between two files, then the path."""
    own, other = here.split("/")[:-1], there.split("/")[:-1]
    return len(own) + len(other) - 2 * _common(own, other), there


def _common(one: Iterable[str], other: Iterable[str]) -> int:
    """Number of equal items at the beginning."""
    count = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        count += 1
    return count
