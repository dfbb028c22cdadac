"""The data of a run in plain values: sources, exclusions, redacted secrets, held-out files.

It is the common input of the console, `corpus.json`, the manifest and the report. It contains file names, so it stays
on this machine.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from starling_server.files import listing
from starling_server.files.languages import language
from starling_server.prompt.fim import Tokenizer
from starling_training.sources.clean import Document
from starling_training.sources.corpus import Corpus
from starling_training.sources.origins import Origin
from starling_training.sources.split import Split

CORPUS = "corpus.json"
NEAR = "near duplicate"
SAMPLES, SAMPLE_CHARS = 50, 4_000
"""Files, evenly spread, and characters of each, encoded to estimate the total number of tokens."""


@dataclass(frozen=True, slots=True)
class Source:
    """Figures of one source."""

    named: str
    name: str
    """Short name, without parent folders."""
    place: str
    """Path on this machine, however the source was named; empty for a remote source."""
    kind: str
    commit: str | None
    weight: float
    files: int
    characters: int
    sha256: str
    """Hash of its files' paths and cleaned texts: equal for equal input."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Figures of all sources; excluded files appear only in `dropped`."""

    sources: tuple[Source, ...]
    files: int
    """Files for training or held out."""
    characters: int
    tokens: int
    """Estimated, see `SAMPLES`."""
    languages: dict[str, int]
    """Files by language, most frequent first; the other counts are sorted alike."""
    licences: dict[str, int]
    dropped: dict[str, int]
    """Excluded files by reason."""
    secrets: dict[str, list[str]]
    """Places (path:line) of redacted secrets by kind; never a value."""
    near_duplicates: tuple[str, ...]
    """Files that are near duplicates of a held-out file or of each other."""
    held_out: tuple[str, ...]
    """Files for evaluation."""
    held_out_of: tuple[str, ...]
    """Source of each held-out file: files of several repositories may have the same path."""
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict[str, tuple[str, ...]])
    """Excluded files by reason, at most `corpus.MOST_NAMED`."""

    @property
    def seen(self) -> int:
        """Number of files examined."""
        return self.files + sum(self.dropped.values())

    @property
    def hidden(self) -> dict[str, int]:
        """Number of redacted secrets, by kind."""
        return {kind: len(places) for kind, places in self.secrets.items()}


def take(corpus: Corpus, split: Split, tokenizer: Tokenizer) -> Inventory:
    """The inventory of `corpus` after its split; tokens are counted with `tokenizer`."""
    used = {document.sha256 for document in (*split.train, *split.held_out)}
    kept = [document for document in corpus.documents if document.sha256 in used]
    near = tuple(document.path for document in corpus.documents if document.sha256 not in used)
    characters = sum(len(document.text) for document in kept)
    return Inventory(
        tuple(_sources(corpus, used)),
        len(kept),
        characters,
        round(characters * tokens_per_character(kept, tokenizer)),
        dict(Counter(language(document.path) or "other" for document in kept).most_common()),
        dict(Counter(document.licence for document in kept if document.licence).most_common()),
        dict(Counter(corpus.dropped | ({NEAR: len(near)} if near else {})).most_common()),
        _secrets(corpus),
        near,
        tuple(document.path for document in split.held_out),
        tuple(document.repository for document in split.held_out),
        {**corpus.left_out, **({NEAR: near} if near else {})},
    )


def write(inventory: Inventory, folder: Path) -> None:
    """Write `corpus.json` into `folder`."""
    (folder / CORPUS).write_text(json.dumps(asdict(inventory), indent=1) + "\n", encoding="utf-8")


def tokens_per_character(documents: Sequence[Document], tokenizer: Tokenizer) -> float:
    """Mean over the first `SAMPLE_CHARS` characters of `SAMPLES` documents; 0 without documents."""
    texts = [document.text[:SAMPLE_CHARS] for document in documents[:: max(1, len(documents) // SAMPLES)]]
    return sum(len(tokenizer.encode(text)) for text in texts) / max(1, sum(map(len, texts)))


def digest(documents: Sequence[Document]) -> str:
    """SHA-256 over paths and texts, in path order."""
    lines = sorted(f"{document.sha256} {document.path}\n" for document in documents)
    return hashlib.sha256("".join(lines).encode("utf-8", "replace")).hexdigest()


def _sources(corpus: Corpus, used: set[str]) -> list[Source]:
    """Each origin's share of the documents, which are sorted by origin."""
    made, begin = list[Source](), 0
    for origin, count in zip(corpus.origins, corpus.counts, strict=True):
        of_it = corpus.documents[begin : begin + count]
        begin += count
        kept = [document for document in of_it if document.sha256 in used]
        made.append(_source(origin, of_it[0].weight if of_it else 1.0, kept))
    return made


def _source(origin: Origin, weight: float, documents: Sequence[Document]) -> Source:
    # A plain folder inside a checkout has no history of its own, and the checkout's commit does not describe it.
    tracked = any(document.changed for document in documents) or Path(origin.named).expanduser() != origin.path
    commit = listing.commit(origin.path) if origin.kind == "folder" and tracked else origin.revision
    characters = sum(len(document.text) for document in documents)
    where = (origin.named, origin.name, origin.place, origin.kind, commit)
    return Source(*where, weight, len(documents), characters, digest(documents))


def _secrets(corpus: Corpus) -> dict[str, list[str]]:
    places = defaultdict[str, list[str]](list)
    for found in corpus.redactions:
        places[found.kind].append(f"{found.path}:{found.line}")
    return dict(sorted(places.items(), key=lambda item: -len(item[1])))
