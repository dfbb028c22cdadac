"""Rows as datasets of `input_ids` and `labels`; ids are made when a row is read."""

from collections.abc import Callable, Sequence
from typing import Any

from datasets import Dataset

from starling_server.prompt.fim import Example
from starling_training.config import Loss
from starling_training.examples.dataset import IGNORED, Row, Writer, example
from starling_training.examples.spans import Hole
from starling_training.sources.clean import Document


def training_set(rows: Sequence[Row], documents: Sequence[Document], writer: Writer, loss: Loss) -> Dataset:
    """A dataset of `input_ids` and `labels` over `rows`; ids are made when a row is read."""

    def ids(batch: dict[str, list[Any]]) -> dict[str, list[list[int]]]:
        read = [Row(*values) for values in zip(*(batch[name] for name in Row.__slots__), strict=True)]
        return _columns([example(row, documents[row.document].text, writer) for row in read], loss)

    table = {name: [getattr(row, name) for row in rows] for name in Row.__slots__}
    return Dataset.from_dict(table).with_transform(ids)


def middle_set(holes: Sequence[Hole], writer: Writer) -> Dataset:
    """A dataset over `holes` in serving's order whose labels are the middles' alone."""
    return Dataset.from_dict(_columns([writer.hole(hole) for hole in holes], "middle"))


def _columns(examples: Sequence[Example], loss: Loss) -> dict[str, list[list[int]]]:
    labels: Callable[[Example], list[int]] = _middle_labels if loss == "middle" else lambda made: made.ids
    return {"input_ids": [made.ids for made in examples], "labels": [labels(made) for made in examples]}


def _middle_labels(made: Example) -> list[int]:
    return [IGNORED] * made.prompt_tokens + made.ids[made.prompt_tokens :]
