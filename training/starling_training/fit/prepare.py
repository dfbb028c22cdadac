"""From source files to training rows: filters data dumps, holds files out and draws the rows of every epoch.

Only the base's tokenizer is loaded, except for the data dump filter, which needs the whole base.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
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
LOSS_TOKENS = 512
"""Tokens from the middle of each file for the data dump filter; the start of a file holds licences and imports."""
MIN_LOSS_TOKENS = 32
"""The loss on fewer tokens is not informative."""


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
    base = loading.find_base(config.model)
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


@torch.inference_mode()
def losses(loaded: Loaded, documents: Sequence[Document], done: Callable[[int], object]) -> list[float]:
    """The base's loss on each document in nats per token; 0 for very short documents.

    A high loss indicates data that only looks like code. `done` is called with the number of documents processed.
    """
    made = list[float]()
    for document in documents:
        ids = loaded.tokenizer.encode(document.text)
        start = max(0, (len(ids) - LOSS_TOKENS) // 2)
        begin = loaded.fim.end if loaded.fim.begin is None else loaded.fim.begin
        part = [begin, *ids[start : start + LOSS_TOKENS]]
        made.append(_loss(loaded, part) if len(part) > MIN_LOSS_TOKENS else 0.0)
        done(len(made))
    return made


def _loss(loaded: Loaded, ids: list[int]) -> float:
    row = torch.tensor([ids], device=loaded.device)
    logits = loaded.model(input_ids=row, use_cache=False).logits
    return cross_entropy(logits[0, :-1].float(), row[0, 1:]).item()


def _check_lossless(tokenizer: FileTokenizer, base: Base, documents: Sequence[Document]) -> None:
    """Raise BaseModelError if decoding does not restore the text: suggestions would not match the document."""
    for document in documents[:LOSSLESS_FILES]:
        text = document.text[:LOSSLESS_CHARS]
        if tokenizer.decode(tokenizer.encode(text)) != text:
            raise BaseModelError(
                f"The tokenizer of base {base.id!r} is not lossless: it changes text of {document.path}. Choose a base "
                "with a lossless tokenizer, such as a StarCoder."
            )
