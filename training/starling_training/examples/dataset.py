"""Spans to token ids: prompts are cut and formatted by the server's own `window` and `fim`.

A row refers to the text of an example; its ids are created on access. They are not truncated afterwards.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from starling_server.context import block
from starling_server.context.block import Excerpt
from starling_server.files.languages import language
from starling_server.prompt import fim, window
from starling_server.prompt.cursor import Cursor, hold_blanks
from starling_server.prompt.fim import Example, Fim, Order
from starling_training.config import DataConfig
from starling_training.examples.others import DROPPED, Others
from starling_training.examples.spans import Hole, Span, cut, draw, is_asked
from starling_training.sources.clean import Document

Form = Literal["spm", "psm", "plain"]
IGNORED = -100
"""Label of a token without loss, the default in torch's cross-entropy."""
SPANS_PER_WINDOW = 2
"""Examples per epoch for each context length of text: each character is read about twice, with different holes."""
LONGEST_TOKEN = 16
"""In characters; middles with more than this per allowed token are rejected without encoding them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example before encoding: a span of `documents[document]`, or plain text from `start` on."""

    document: int
    start: int
    end: int
    kind: str
    form: Form
    others: bool = False
    """Whether pieces of other files go into its prompt."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Encodes text for one base and one context size."""

    tokenizer: fim.Tokenizer
    fim: Fim
    context_tokens: int
    max_tokens: int
    """Max tokens of a middle with its end id."""
    repository_tokens: int = 0
    """Max tokens of other files in a prompt."""

    @property
    def other_order(self) -> Order:
        """The order that prompts are not served in, or the served one where the base has not learnt the other."""
        other: Order = "psm" if self.fim.order == "spm" else "spm"
        return other if other in self.fim.learnt else self.fim.order

    def hole(self, hole: Hole, order: Order | None = None, others: Sequence[Excerpt] = ()) -> Example:
        """The example of `hole` with pieces of other files; without `order`, the prompt is the one used in serving."""
        tokens, encode = window.budget(self.context_tokens, self.max_tokens, self.fim.sentinels), self.tokenizer.encode
        files = block.fit(others, block.share(tokens, self.repository_tokens), self.fim, encode)
        cropped = window.fit(Cursor.at(hole.prefix, hole.suffix), tokens - len(files), encode)
        middle = encode(cropped.held + hole.middle)
        return self.fim.example(cropped.prefix, middle, cropped.suffix, order, files)

    def plain(self, text: str, start: int) -> Example:
        """Text from `start` on, up to the context size; the end id follows if the text ends there."""
        ids = self.tokenizer.encode(text[start : start + self.context_tokens * LONGEST_TOKEN])
        begin = [] if self.fim.begin is None else [self.fim.begin]
        return Example([*begin, *ids, self.fim.end][: self.context_tokens], 0)

    def fits(self, text: str, span: Span) -> bool:
        """Whether the middle and its end id have at most `max_tokens` ids."""
        if span.length > self.max_tokens * LONGEST_TOKEN:
            return False
        _, held = hold_blanks(text[max(0, span.start - 1000) : span.start])
        return len(self.tokenizer.encode(held + text[span.start : span.end])) < self.max_tokens

    def draw(self, document: Document, count: int, random: Random) -> list[Span]:
        """Up to `count` spans of the document whose middles fit."""
        text = document.text
        return draw(text, count, random, lambda span: self.fits(text, span), language(document.path))


def epoch_rows(documents: Sequence[Document], writer: Writer, config: DataConfig, epoch: int) -> list[Row]:
    """Every document's rows for `epoch`, in random order."""
    rows = [row for number in range(len(documents)) for row in _document_rows(documents, number, writer, config, epoch)]
    Random(f"order:{epoch}:{config.seed}").shuffle(rows)
    return rows


def held_out_holes(documents: Sequence[Document], writer: Writer, count: int, seed: str) -> list[tuple[str, Hole]]:
    """`count` holes with their documents' paths, more in longer documents; deterministic for the same `seed`."""
    random = Random(seed)
    weights = [len(document.text) for document in documents]
    chosen = random.choices(documents, weights, k=count)
    holes = list[tuple[str, Hole]]()
    for document in chosen:
        text = document.text

        def fits(span: Span, text: str = text) -> bool:
            return is_asked(text, span) and writer.fits(text, span)

        drawn = draw(text, 1, random, fits, language(document.path))
        holes += [(document.path, cut(text, span)) for span in drawn]
    return holes


def example(row: Row, text: str, writer: Writer, others: Others | None = None) -> Example:
    """The example for `row` in its document's `text`, with pieces of `others` where the row has them."""
    if row.form == "plain":
        return writer.plain(text, row.start)
    hole = Hole(text[: row.start], text[row.start : row.end], text[row.end :], "line")
    return writer.hole(hole, row.form, others.of(hole) if others is not None and row.others else ())


def _document_rows(
    documents: Sequence[Document], number: int, writer: Writer, config: DataConfig, epoch: int
) -> Iterator[Row]:
    text = documents[number].text
    random = Random(f"{documents[number].sha256}:{epoch}:{config.seed}")
    windows = len(text) / (writer.context_tokens * window.CHARS_PER_TOKEN)
    expected = max(1.0, SPANS_PER_WINDOW * windows) * documents[number].weight
    count = int(expected + random.random())  # rounded at random, so that weights affect small files too
    for span in writer.draw(documents[number], count, random):
        if random.random() < config.fim_rate:
            served = random.random() < config.spm_rate
            form = writer.fim.order if served else writer.other_order
            others = writer.repository_tokens > 0 and random.random() >= DROPPED
            yield Row(number, span.start, span.end, span.kind, form, others)
        else:
            start = text.rfind("\n", 0, span.start) + 1
            yield Row(number, start, start, "plain", "plain")
