"""Packs sources into one corpus: filtered, deduplicated, capped per package, with held-out documents excluded.

Trailing comments addressed to tools are removed: a base trained on many of them suggests `# noqa` at line ends.
"""

import json
import lzma
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np

from starling_training.base import wheels
from starling_training.base.wheels import Source
from starling_training.sources.clean import Document, digest
from starling_training.sources.dedup import near_duplicates, signature

PRAGMA = re.compile(
    r"[ \t]+#[ \t]*(?:ty(?:pe)?: ?ignore|noqa|nosec|(?:pragma|pylint|pyright|mypy|ruff|flake8|isort|fmt|yapf):)[^\n]*"
)
"""Matches a tool directive in a comment that follows code on its line."""


def without_pragmas(text: str) -> str:
    """`text` without trailing tool directives; a comment on a line of its own is kept."""
    return PRAGMA.sub(_kept, text)


def _kept(found: re.Match[str]) -> str:
    alone = found.start() == 0 or found.string[found.start() - 1] == "\n"
    return found[0] if alone else ""


MOST_CHARS = 8_000_000
"""Max characters per package; without it, a few very large packages would dominate the corpus."""
CORPUS, HELD_OUT, RECORD = "corpus.jsonl.xz", "held_out.jsonl.xz", "sources.json"
PRESET = 6
"""xz preset: 200 MB of source compress to about 35 MB, small enough to upload to a GPU machine."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One source in the record of a corpus."""

    name: str
    version: str
    licence: str
    sha256: str
    files: int
    characters: int
    duplicates: int
    """Files excluded as exact or near duplicates."""
    over_share: int
    """Files excluded because the package had reached its share."""


def collect(folder: Path, only: Sequence[str] = ()) -> list[Entry]:
    """Download, read and pack all sources into `folder`. Returns the record, which is also written there.

    If `only` is not empty, the training corpus holds only the packages it names.
    """
    held_out = [wheels.read_wheel(w, False) for w in wheels.download(wheels.HELD_OUT, folder / "held_out")]
    learnt = [wheels.read_wheel(wheel) for wheel in wheels.download(wheels.LEARNT, folder / "wheels", only)]
    if not only:
        learnt.insert(0, wheels.read_standard_library())
    entries, chosen = choose(learnt, [document for source in held_out for document in source.documents])
    pack(folder / CORPUS, chosen)
    pack(folder / HELD_OUT, ((source.name, document) for source in held_out for document in source.documents))
    record = {
        "learnt": [asdict(entry) for entry in entries],
        "held_out": [asdict(_entry(s, s.documents)) for s in held_out],
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return entries


def choose(learnt: Sequence[Source], held_out: Sequence[Document]) -> tuple[list[Entry], list[tuple[str, Document]]]:
    """The record of each source and the documents kept, each with the name of its source."""
    named = list(_unseen(learnt, held_out))
    texts = [document.text for document in (*held_out, *(document for _, document in named))]
    near = near_duplicates(np.stack([signature(text) for text in texts]), len(held_out))
    near = {number - len(held_out) for number in near}
    single = [item for number, item in enumerate(named) if number not in near]
    entries, chosen = list[Entry](), list[tuple[str, Document]]()
    for source in learnt:
        own = [document for name, document in single if name == source.name]
        kept = _share(own)
        chosen += [(source.name, document) for document in kept]
        entries.append(_entry(source, kept, len(source.documents) - len(own), len(own) - len(kept)))
    return entries, chosen


def pack(path: Path, documents: Iterable[tuple[str, Document]]) -> None:
    """Write documents, each with the name of its source, as xz-compressed JSON lines."""
    with lzma.open(path, "wt", encoding="utf-8", preset=PRESET) as file:
        for source, document in documents:
            file.write(json.dumps({"source": source, "path": document.path, "text": document.text}) + "\n")


def unpack(path: Path) -> Iterator[tuple[str, Document]]:
    """Read the documents that `pack` wrote, each with the name of its source."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            text: str = row["text"]
            yield row["source"], Document(row["path"], text, digest(text))


def _unseen(learnt: Sequence[Source], held_out: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Documents identical to no held-out and no earlier document, each with the name of its source."""
    seen = {document.sha256 for document in held_out}
    for source in learnt:
        for document in source.documents:
            if document.sha256 not in seen:
                seen.add(document.sha256)
                yield source.name, document


def _share(documents: Sequence[Document]) -> list[Document]:
    """Documents taken in a random but fixed order until the package's share is full, then sorted by path."""
    shuffled = sorted(documents, key=lambda document: document.sha256)
    Random(0).shuffle(shuffled)
    kept, chars = list[Document](), 0
    for document in shuffled:
        if chars + len(document.text) <= MOST_CHARS:
            kept.append(document)
            chars += len(document.text)
    return sorted(kept, key=lambda document: document.path)


def _entry(source: Source, kept: Sequence[Document], duplicates: int = 0, over_share: int = 0) -> Entry:
    chars = sum(len(document.text) for document in kept)
    about = (source.name, source.version, source.licence, source.sha256)
    return Entry(*about, len(kept), chars, duplicates, over_share)
