"""Evaluation holes, drawn with a random seed from held-out files and saved as places, so that runs are comparable.

A place holds no code: only a path, the hash of the file's text and two indices. Each file is labelled by its similarity
to the adapter's training data, to separate memorisation from generalisation.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from starling_server import untrusted
from starling_server.errors import AdapterError, SourceError, UsageError
from starling_server.files.languages import language
from starling_server.models.manifest import Manifest
from starling_training.examples.spans import Kind, Span, cut, draw, is_asked
from starling_training.scoring.trials import Placed
from starling_training.sources import dedup, origins
from starling_training.sources.clean import Document
from starling_training.sources.corpus import Corpus
from starling_training.staging import replaced

LIKENESS = ("unlike what was learnt", "somewhat like it", "close to it")
LIKENESS_BORDERS = (0.05, 0.2)
"""Estimated Jaccard similarity of word 5-grams to the closest training file; at `dedup.THRESHOLD` and above, files are
excluded from training as near duplicates.
"""


def likeness_label(document: Document, learnt: NDArray[np.uint32]) -> str:
    """One of `LIKENESS`, empty for unknown training data; `learnt` holds signatures, (documents, permutations)."""
    if not len(learnt):
        return ""
    closest = float((learnt == dedup.signature(document.text)).mean(1).max())
    return LIKENESS[sum(closest >= border for border in LIKENESS_BORDERS)]


def likeness_labels(documents: Sequence[Document], learnt: NDArray[np.uint32]) -> dict[str, str]:
    """Each document's label, by its hash."""
    return {document.sha256: likeness_label(document, learnt) for document in documents}


CHARS_PER_TOKEN = 2.5
"""Max characters of a middle per token of a suggestion. Independent of the vocabulary, so that bases with different
vocabularies get the same holes.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """`text[start:end]` of the document with this hash."""

    path: str
    sha256: str
    start: int
    end: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Parts:
    """Documents for evaluation, and the adapter's training documents if known."""

    judged: tuple[Document, ...]
    learnt: tuple[int, ...]
    """Rows of the corpus."""
    said: str
    """The reason for this choice, in one sentence."""
    elsewhere: bool = False
    """Whether the adapter is known to be trained on other sources only."""


def parts(corpus: Corpus, manifest: Manifest | None) -> Parts:
    """The held-out files if the adapter was trained on this source, else all files; raises SourceError."""
    if manifest is None:
        return Parts(corpus.documents, (), "All files are asked about; who has learnt from them is not known here.")
    if not _is_source(corpus, manifest):
        said = "All files are asked about: the adapter was not trained on this source."
        return Parts(corpus.documents, (), said, elsewhere=True)
    try:
        held_out = tuple(manifest.data.get("held_out", ()))
        whose = manifest.data.get("held_out_of")
        known = set(held_out) if whose is None else set(zip(whose, held_out, strict=True))
    except (TypeError, ValueError) as error:
        raise _damaged(manifest) from error
    is_judged = [(d.path if whose is None else (d.repository, d.path)) in known for d in corpus.documents]
    judged = tuple(document for document, asked in zip(corpus.documents, is_judged, strict=True) if asked)
    if not judged:
        raise SourceError(
            f"None of the {len(held_out)} files that {manifest.name} held out is left in {corpus.title}: name another "
            "source, or train again."
        )
    learnt = tuple(row for row, asked in enumerate(is_judged) if not asked)
    return Parts(judged, learnt, f"Asked about are the {len(judged)} files that training held out.")


def places(documents: Sequence[Document], count: int, max_tokens: int, seed: int) -> list[Place]:
    """`count` places, more in longer documents; deterministic for the same documents and `seed`."""
    random = Random(f"eval:{seed}")
    ordered = sorted(documents, key=lambda document: (document.path, document.sha256))
    chosen = random.choices(ordered, [len(document.text) for document in ordered], k=count)
    most = max_tokens * CHARS_PER_TOKEN

    found = list[Place]()
    for document in chosen:
        text = document.text

        def fits(span: Span, text: str = text) -> bool:
            return span.length <= most and is_asked(text, span)

        drawn = draw(text, 1, random, fits, language(document.path))
        found += [Place(document.path, document.sha256, span.start, span.end, span.kind) for span in drawn]
    return found


def cut_out(found: Sequence[Place], documents: Sequence[Document]) -> list[Placed]:
    """The hole at each place; raises SourceError if a document has changed or is missing."""
    texts = {document.sha256: document.text for document in documents}
    gone = {place.path for place in found if place.sha256 not in texts}
    if gone:
        raise SourceError(
            f"{len(gone)} of the files that the holes are in have changed or are gone, {min(gone)} among them: check "
            "out the state that they were drawn from, or draw others by leaving out --holes-file."
        )
    return [(place.path, cut(texts[place.sha256], Span(place.start, place.end, place.kind))) for place in found]


def write(found: Sequence[Place], path: Path) -> None:
    """Save places, one JSON object per line."""
    with replaced(path) as new:
        new.write_text("".join(json.dumps(asdict(place)) + "\n" for place in found), encoding="utf-8")


def read(path: Path) -> list[Place]:
    """Load the places that `write` saved; raises UsageError."""
    try:
        content = untrusted.read(path, untrusted.MOST_BYTES)
        rows = [untrusted.values(line) for line in content.splitlines() if line.strip()]
        return TypeAdapter(list[Place]).validate_python(rows)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror or error}): name a file that --save-holes wrote."
        ) from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} has no positions of holes: name a file that --save-holes wrote.") from error


def _is_source(corpus: Corpus, manifest: Manifest) -> bool:
    """Whether one of the adapter's sources is in the corpus."""
    here = {origin.place or origin.named for origin in corpus.origins}
    try:
        sources = manifest.data.get("sources", [])
        return any((source.get("place") or _place(source["named"])) in here for source in sources)
    except (TypeError, KeyError, AttributeError) as error:
        raise _damaged(manifest) from error


def _damaged(manifest: Manifest) -> AdapterError:
    return AdapterError(f"The manifest of adapter {manifest.name!r} is damaged at data: train the adapter again.")


def _place(named: str) -> str:
    """The place of a source whose manifest has none yet."""
    path = Path(named).expanduser()
    return str(path.resolve()) if path.exists() else origins.shown(named)
