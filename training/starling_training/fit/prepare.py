"""From source files to training rows: holds files out and draws the rows of every epoch.

Only the base's tokenizer is loaded.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from starling_server.backends.torch.device import find_base
from starling_server.errors import BaseModelError, SourceError
from starling_server.models import bases
from starling_server.models.bases import Base
from starling_server.models.tokenizer import FileTokenizer, load_tokenizer
from starling_training.config import TrainConfig, resolve
from starling_training.examples.dataset import Row, Writer, epoch_rows, held_out_holes
from starling_training.examples.others import Others
from starling_training.examples.spans import Hole
from starling_training.sources.clean import Document
from starling_training.sources.corpus import Corpus
from starling_training.sources.split import Split, apart, split

LOSSLESS_FILES, LOSSLESS_CHARS = 20, 4_000
"""Files, and characters of each, that are encoded and decoded to check the tokenizer."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The inputs of a run, complete before the weights are loaded."""

    config: TrainConfig
    """Resolved."""
    base: Base
    corpus: Corpus
    split: Split
    writer: Writer
    rows: list[Row]
    """Rows of all epochs, in order."""
    others: Others | None = None
    """What other files of the repository say; None where prompts hold none."""

    def holes(self, purpose: str, count: int) -> list[tuple[str, Hole]]:
        """Held-out holes with their paths; each purpose has its own."""
        return held_out_holes(self.split.held_out, self.writer, count, f"{purpose}:{self.config.data.seed}")

    def fingerprint(self) -> dict[str, Any]:
        """The values that must be unchanged for a run to be resumed."""
        config = self.config
        texts = "".join(document.sha256 for document in (*self.split.train, *self.split.held_out))
        return {
            "base": bases.fingerprint(self.base),
            "source": hashlib.sha256(texts.encode()).hexdigest(),
            **asdict(config.data),
            **asdict(config.lora),
            **asdict(config.optim),
        }


def prepare(config: TrainConfig, read: Corpus) -> Prepared:
    """Find the base, split `read` and write its rows; raises SourceError and BaseModelError."""
    base = find_base(config.model)
    tokenizer = load_tokenizer(base)
    config = resolve(config, base)
    written = replace(base.fim(tokenizer), order=config.data.taught_order)
    parts = apart(split(read.documents, config.data.held_out, config.data.seed), read)
    if not parts.train:
        raise SourceError(f"Every file of {read.title} is a near duplicate of a held-out file: add another source.")
    _check_lossless(tokenizer, base, parts.train)
    data, tokens = config.data, config.data.repository_tokens
    writer = Writer(tokenizer, written, data.context_tokens, data.max_tokens, tokens)
    rows = [row for epoch in range(config.optim.epochs) for row in epoch_rows(parts.train, writer, config.data, epoch)]
    if not rows:
        raise SourceError(
            f"No line of {read.title} fits into an example of {writer.max_tokens} tokens: raise --max-tokens or name "
            "another source."
        )
    others = Others(parts.train, parts.held_out, tokens) if tokens else None
    return Prepared(config, base, read, parts, writer, rows, others)


def _check_lossless(tokenizer: FileTokenizer, base: Base, documents: Sequence[Document]) -> None:
    """Raise BaseModelError if decoding does not restore the text: suggestions would not match the document."""
    for document in documents[:LOSSLESS_FILES]:
        text = document.text[:LOSSLESS_CHARS]
        if tokenizer.decode(tokenizer.encode(text)) != text:
            raise BaseModelError(
                f"The tokenizer of base {base.id!r} is not lossless: it changes text of {document.path}. Choose a base "
                "with a lossless tokenizer, such as a StarCoder."
            )
