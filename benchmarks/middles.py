"""Share of middle tokens trained with their full context in view: Starling against the published recipe.

    python benchmarks/middles.py PATH [--context 2048]

The published recipe (Hugging Face's "personal copilot", `train.py` of 2023) permutes whole files at token boundaries,
joins them, and cuts the stream into sequences at arbitrary places. It is simulated here from its description of
`ConstantLengthDataset` and `permute`, on the same files and with the same tokenizer, rates and context as Starling.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random

from starling_server.models import bases
from starling_server.models.families import table as families
from starling_server.models.tokenizer import load_tokenizer
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor
from starling_training.config import DataConfig
from starling_training.examples.dataset import Writer, epoch_rows, example
from starling_training.sources import corpus
from starling_training.sources.clean import Document


@dataclass(frozen=True, slots=True)
class Count:
    """Middle tokens of one recipe."""

    all: int
    whole_prompt: int
    """With the whole prompt of the recipe in the same sequence: for Starling the window used in serving, for the
    published recipe the rest of the file.
    """
    whole_file: int
    """With the whole rest of their file in the same sequence."""

    def shares(self) -> dict[str, float]:
        return {
            "middle_tokens": self.all,
            "whole_prompt": round(self.whole_prompt / self.all, 4),
            "whole_file": round(self.whole_file / self.all, 4),
        }


def ours(documents: Sequence[Document], writer: Writer, config: DataConfig) -> Count:
    """One epoch of `train-copilot`; all ids of all examples are counted."""
    total = files = prompts = 0
    budget = window.budget(writer.context_tokens, writer.max_tokens, writer.fim.sentinels)
    for row in epoch_rows(documents, writer, config, epoch=0):
        if row.form == "plain":
            continue
        text = documents[row.document].text
        made = example(row, text, writer)
        fitted = window.fit(Cursor.at(text[: row.start], text[row.end :]), budget, writer.tokenizer.encode)
        asked = writer.fim.prompt(fitted.prefix, fitted.suffix, row.form)
        middle = writer.tokenizer.encode(fitted.held + text[row.start : row.end])
        whole = made.ids == [*asked, *middle, writer.fim.end] and len(made.ids) <= writer.context_tokens
        rest = writer.tokenizer.decode(fitted.prefix) + writer.tokenizer.decode(fitted.suffix)
        total += len(middle)
        prompts += len(middle) * whole
        files += len(middle) * (whole and len(rest) + len(fitted.held) == len(text) - (row.end - row.start))
    return Count(total, prompts, files)


def published(documents: Sequence[Document], writer: Writer, rate: float, spm: float, seed: int = 0) -> Count:
    """The published recipe: files permuted whole, joined, cut into sequences of `context_tokens`."""
    random, size = Random(seed), writer.context_tokens
    pieces = [_permuted(writer.tokenizer.encode(document.text), rate, spm, random) for document in documents]
    starts = [0, *accumulate(sum(lengths) for lengths, _ in pieces)]
    total = files = 0
    for start, (lengths, has_hole) in zip(starts, pieces, strict=False):
        if not has_hole:
            continue
        end, at = start + sum(lengths), start + sum(lengths[:-2])
        for token in range(at, at + lengths[-2]):
            first = token // size * size
            total += 1
            files += start >= first and end <= first + size
    return Count(total, files, files)


def _permuted(ids: Sequence[int], rate: float, spm: float, random: Random) -> tuple[list[int], bool]:
    """Lengths of the parts of a permuted file, in order, the middle before its end token; and whether it has a hole."""
    if random.random() >= rate or len(ids) < 2:
        return [len(ids), 0, 0, 1], False
    low, high = sorted(random.randint(0, len(ids)) for _ in range(2))
    prefix, middle, suffix = low, high - low, len(ids) - high
    head = [suffix + 2, prefix + 1] if random.random() < spm else [prefix + 1, suffix + 2]
    return [*head, middle, 1], True


def describe(name: str, shares: dict[str, float]) -> Iterator[str]:
    yield f"{name}: {shares['middle_tokens']:,} middle tokens"
    yield f"  with their whole prompt in view             {shares['whole_prompt']:.1%}"
    yield f"  with the whole rest of their file in view   {shares['whole_file']:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=0.5, help="share of files or examples with a hole")
    asked = parser.parse_args()
    documents = corpus.read([asked.path]).documents
    tokenizer = load_tokenizer(bases.find("tiny"))
    writer = Writer(tokenizer, families.resolve("gpt_bigcode", tokenizer), asked.context, 64)
    config = DataConfig(context_tokens=asked.context, fim_rate=asked.rate, spm_rate=0.5)
    result = {
        "ours": ours(documents, writer, config).shares(),
        "published": published(documents, writer, asked.rate, 0.5).shares(),
    }
    for name, shares in result.items():
        print("\n".join(describe(name, shares)), file=sys.stderr)
    print(json.dumps({"files": len(documents), "context": asked.context, **result}))


if __name__ == "__main__":
    main()
