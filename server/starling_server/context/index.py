"""The index of one repository: definitions by name, modules by path, and chunks for BM25, changed file by file.

The same files give the same answers, in whatever order they were added, changed and removed. Thread-safe.
"""

import hashlib
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock

from starling_server.context.chunks import chunks
from starling_server.context.lexical import Postings, terms
from starling_server.context.outline import Definition, Outline, outline, pack, unpack
from starling_server.files.content import redacted
from starling_server.files.languages import language

MOST_FILES, MOST_CHARS = 20_000, 200_000_000
"""Of one index; further files are left out."""
ENTRANCES = frozenset({"__init__", "index", "mod", "lib", "main"})
"""Stems of files that stand for their folder."""
BREAK = "\0"
"""Between chunks; no text file holds it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. Chunks and outline are compressed: a quarter of the memory."""

    path: str
    """Relative to the repository, with '/'."""
    digest: str
    """SHA-256 of the file's bytes."""
    packed_chunks: bytes
    packed_outline: bytes
    chars: int
    """Of its text."""
    numbers: range
    """Numbers of its chunks."""

    @property
    def chunks(self) -> list[str]:
        """The text in chunks, with placeholders for secrets."""
        return _split(self.packed_chunks)

    @property
    def outline(self) -> Outline:
        """Definitions and imports."""
        return _unpacked(self.packed_outline)


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk of a file."""

    path: str
    text: str
    score: float


_unpacked = lru_cache(maxsize=512)(unpack)


@lru_cache(maxsize=128)
def _split(packed: bytes) -> list[str]:
    return zlib.decompress(packed).decode().split(BREAK)


def digest(content: bytes) -> str:
    """The key of a file's content."""
    return hashlib.sha256(content).hexdigest()


class Index:
    """All files of one repository."""

    def __init__(self) -> None:
        self._files = dict[str, Entry]()
        self._names = dict[str, tuple[str, ...]]()
        """Paths of the files that define a name."""
        self._stems = dict[str, tuple[str, ...]]()
        """Paths by the last segment of their module."""
        self._postings = Postings()
        self._starts, self._owners = list[int](), list[str]()
        """First chunk of every file that was added, and its path."""
        self._lock = Lock()
        self.chars = 0
        """Characters of all texts."""
        self.version = 0
        """Changes with every file that is added or removed."""
        self._ordered = -1, list[str]()
        """A version and its paths in order: a checkout or an installation changes thousands of files at once."""

    def __len__(self) -> int:
        """Number of files."""
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        """Paths in order."""
        return iter(sorted(self._files))

    def below(self, folder: str) -> list[str]:
        """Paths of the files in a folder and its folders, in order; empty for a file."""
        if self._ordered[0] != self.version:
            self._ordered = self.version, sorted(self._files)
        paths = self._ordered[1]
        return paths[bisect_left(paths, f"{folder}/") : bisect_left(paths, f"{folder}0")]  # 0 comes next to /

    def __contains__(self, path: object) -> bool:
        """Whether a file is in the index."""
        return path in self._files

    def entry(self, path: str) -> Entry | None:
        """The file at `path`."""
        return self._files.get(path)

    def put(self, path: str, content: bytes) -> bool:
        """Add or change a file; returns whether it is in the index then. Raises `files.content.Unwanted`.

        An excluded file is removed. `content` is at most one byte more than `files.filters.MAX_BYTES`.
        """
        key, known = digest(content), self._files.get(path)
        if known is not None and known.digest == key:
            return True
        self.remove(path)
        text, _ = redacted(path, content)
        return self._put(path, key, text)

    def put_text(self, path: str, text: str) -> bool:
        """As `put`, for a text that was read and redacted before."""
        self.remove(path)
        return self._put(path, digest(text.encode("utf-8", "replace")), text)

    def _put(self, path: str, key: str, text: str) -> bool:
        if len(self._files) >= MOST_FILES or self.chars + len(text) > MOST_CHARS:
            return False
        found = pack(outline(text, language(path)))
        packed = zlib.compress(BREAK.join(chunks(text)).encode("utf-8", "replace"), 1)
        with self._lock:
            self._add(Entry(path, key, packed, found, len(text), range(0)))
        return True

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with self._lock:
            entry = self._files.pop(path, None)
            if entry is None:
                return
            self.version += 1
            self.chars -= entry.chars
            self._postings.remove(entry.numbers, entry.chunks)
            for name in {each.name for each in entry.outline.definitions}:
                _drop(self._names, name, path)
            _drop(self._stems, stem(path), path)
            if self._postings.wasteful:
                self._compact()

    def rename(self, old: str, new: str) -> None:
        """Move a file without reading it again; its language is read from the new name only when it changes."""
        entry = self._files.get(old)
        if entry is None or old == new:
            return
        self.remove(new)
        self.remove(old)
        if language(old) != language(new):
            entry = replace(entry, packed_outline=pack(outline("\n".join(entry.chunks), language(new))))
        with self._lock:
            self._add(replace(entry, path=new))

    def defining(self, name: str) -> tuple[str, ...]:
        """Paths of the files that define `name`, in order."""
        return self._names.get(name, ())

    def definitions(self, path: str, name: str) -> list[Definition]:
        """Definitions of `name` in one file, in the order of the text."""
        entry = self._files.get(path)
        return [each for each in entry.outline.definitions if each.name == name] if entry else []

    def modules(self, segment: str) -> tuple[str, ...]:
        """Paths of the files whose module's last segment is this."""
        return self._stems.get(segment, ())

    def search(self, text: str, most: int, without: str = "") -> Iterator[Found]:
        """The chunks most like `text` by BM25, best first; more than `most` where several score like the last.

        Chunks of the file `without` are left out.
        """
        words = list(dict.fromkeys(terms(text)))
        with self._lock:
            own = self._files.get(without)
            hits = self._postings.search(words, most, own.numbers if own else range(0))
            placed = [(hit, self._files[self._owners[bisect_right(self._starts, hit.chunk) - 1]]) for hit in hits]
        found = ((-hit.score, entry.path, hit.chunk - entry.numbers.start, entry) for hit, entry in placed)
        for score, path, number, entry in sorted(found, key=lambda each: each[:3]):
            yield Found(path, entry.chunks[number], -score)

    def _add(self, entry: Entry) -> None:
        self.version += 1
        numbers = self._postings.add(entry.chunks)
        self._starts.append(numbers.start)
        self._owners.append(entry.path)
        self._know(replace(entry, numbers=numbers))

    def _know(self, entry: Entry) -> None:
        self._files[entry.path] = entry
        self.chars += entry.chars
        for name in {each.name for each in unpack(entry.packed_outline).definitions}:
            _insert(self._names, name, entry.path)
        _insert(self._stems, stem(entry.path), entry.path)

    def _compact(self) -> None:
        numbers = self._postings.compact()
        ordered = sorted(self._files.values(), key=lambda each: each.numbers.start)
        self._starts, self._owners = [], []
        for entry in ordered:
            moved = range(int(numbers[entry.numbers.start]), int(numbers[entry.numbers.stop]))
            self._files[entry.path] = replace(entry, numbers=moved)
            self._starts.append(moved.start)
            self._owners.append(entry.path)

    def snapshot(self) -> tuple[list[Entry], Postings]:
        """What `restored` takes, files in the order of their chunks; nothing else may change the index meanwhile."""
        with self._lock:
            self._compact()
            return sorted(self._files.values(), key=lambda each: each.numbers.start), self._postings

    @classmethod
    def restored(cls, entries: list[Entry], postings: Postings) -> "Index":
        """The index with these files and their counts."""
        made = cls()
        made._postings = postings
        for entry in entries:
            made._starts.append(entry.numbers.start)
            made._owners.append(entry.path)
            made._know(entry)
        return made


def segments(path: str) -> tuple[str, ...]:
    """A file's path as a module's: without its extension, and without the file where it stands for its folder."""
    *inner, name = path.split("/")
    plain = name.partition(".")[0] or name
    return tuple(inner) if plain in ENTRANCES and inner else (*inner, plain)


def stem(path: str) -> str:
    """The last segment of a file's module."""
    return segments(path)[-1]


def _insert(table: dict[str, tuple[str, ...]], key: str, path: str) -> None:
    known = table.get(key, ())
    if path not in known:
        at = bisect_right(known, path)
        table[key] = (*known[:at], path, *known[at:])


def _drop(table: dict[str, tuple[str, ...]], key: str, path: str) -> None:
    left = tuple(known for known in table.get(key, ()) if known != path)
    if left:
        table[key] = left
    else:
        table.pop(key, None)
