"""Sources to one packed corpus: filtered, without duplicates, no package larger than its share, nothing held out.

Comments at the ends of lines that speak to a tool are taken off: a base that has read many writes `# noqa` there.
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
"""At the end of a line with code."""


def without_pragmas(text: str) -> str:
    """`text` without them; a comment that has a line of its own stays."""
    return PRAGMA.sub(_kept, text)


def _kept(found: re.Match[str]) -> str:
    alone = found.start() == 0 or found.string[found.start() - 1] == "\n"
    return found[0] if alone else ""


MOST_CHARS = 8_000_000
"""Of one package: a few giants would drown the hundred others' ways of writing."""
CORPUS, HELD_OUT, RECORD = "corpus.jsonl.xz", "held_out.jsonl.xz", "sources.json"
PRESET = 6
"""xz: 200 MB of source become some 35 MB, few enough to carry to a machine with a GPU."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One source in the record of what a corpus was made from."""

    name: str
    version: str
    licence: str
    sha256: str
    files: int
    characters: int
    duplicates: int
    """Files left out since another one says the same, exactly or nearly."""
    over_share: int
    """Files left out since the package had its share."""


def collect(folder: Path, only: Sequence[str] = ()) -> list[Entry]:
    """Download, read and pack everything into `folder`; the record, which is written there too.

    With names in `only`, nothing but those packages is learnt from.
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
    """What is left of each source, and the documents with their source's names."""
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
    """Write documents with their source's names as xz-compressed JSON lines."""
    with lzma.open(path, "wt", encoding="utf-8", preset=PRESET) as file:
        for source, document in documents:
            file.write(json.dumps({"source": source, "path": document.path, "text": document.text}) + "\n")


def unpack(path: Path) -> Iterator[tuple[str, Document]]:
    """The documents that `pack` wrote, with their source's names."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            text: str = row["text"]
            yield row["source"], Document(row["path"], text, digest(text))


def _unseen(learnt: Sequence[Source], held_out: Sequence[Document]) -> Iterator[tuple[str, Document]]:
    """Documents that equal no held-out one and no earlier one, with their source's names."""
    seen = {document.sha256 for document in held_out}
    for source in learnt:
        for document in source.documents:
            if document.sha256 not in seen:
                seen.add(document.sha256)
                yield source.name, document


def _share(documents: Sequence[Document]) -> list[Document]:
    """Documents in random but fixed order until the package's share is full; then by path again."""
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
