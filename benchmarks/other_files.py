"""Whether pieces of other files in the prompt help: exact match and similarity at the same holes, with and without.

    python benchmarks/other_files.py FOLDER --holes 100

Every file of FOLDER is indexed. A hole's pieces come from other files; one that holds a line of what was cut out, or
a near copy of one, is dropped (`context.leaks`). The intervals resample files, since holes of one file are alike. The
last line is JSON.
"""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from starling_server.completion.service import Service
from starling_server.config import ModelConfig
from starling_server.context.block import TOKENS
from starling_server.context.choice import Piece, Place, choose
from starling_server.context.index import Index
from starling_server.context.leaks import leaks
from starling_server.context.workspace import Workspace
from starling_server.files import inside, listing
from starling_server.schema import CompleteRequest, ContextPiece
from starling_training.evaluation import holes
from starling_training.scoring import metrics
from starling_training.scoring.engines import served
from starling_training.scoring.intervals import compare
from starling_training.scoring.trials import Placed, truth
from starling_training.sources.clean import Document, document

MAX_TOKENS, CONTEXT_TOKENS = 64, 2048
LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class Result:
    """One hole: exact match and similarity without other files, then with them."""

    path: str
    exact: tuple[float, float]
    similarity: tuple[float, float]
    pieces: tuple[Piece, ...]
    leaked: int
    """Pieces that were dropped."""


def documents(folder: Path) -> list[Document]:
    """Source files of the folder, as training reads them."""
    read = (document(path, inside.read(folder, path, 1 << 20)) for path in listing.files(folder).paths)
    return [each for each in read if isinstance(each, Document)]


def pieces(index: Index, placed: Placed, tokens: int) -> tuple[tuple[Piece, ...], int]:
    """The pieces for a hole that do not give it away, and how many did."""
    path, hole = placed
    found = choose(index, Place(path, hole.prefix, hole.suffix), tokens)
    kept = tuple(piece for piece in found if not leaks(piece, hole.middle))
    return kept, len(found) - len(kept)


async def answers(service: Service, index: Index, placed: Sequence[Placed], tokens: int) -> list[Result]:
    results = list[Result]()
    for each in placed:
        path, hole = each
        wanted = truth(hole, "auto")
        chosen, leaked = pieces(index, each, tokens)
        texts = [await _answer(service, each, ()), await _answer(service, each, chosen)]
        exact, alike = ([score(wanted, text) for text in texts] for score in (metrics.exact, metrics.similarity))
        results.append(Result(path, (exact[0], exact[1]), (alike[0], alike[1]), chosen, leaked))
    return results


async def _answer(service: Service, placed: Placed, chosen: tuple[Piece, ...]) -> str:
    _, hole = placed
    context = tuple(ContextPiece(path=piece.path, text=piece.text[:LONGEST]) for piece in chosen)
    request = CompleteRequest(prefix=hole.prefix, suffix=hole.suffix, context=context)
    return (await service.complete(request)).choices[0].text


def summary(results: Sequence[Result]) -> dict[str, object]:
    """Both metrics without and with other files, and the difference with its 95 % interval over files."""
    ones = np.ones((2, len(results)))
    columns = {
        name: (np.array([[getattr(result, name)[side] for result in results] for side in (0, 1)], float), ones)
        for name in ("exact", "similarity")
    }
    found = compare(columns, [result.path for result in results])
    figures = {
        name: {
            "without": round(each.base, 4), "with": round(each.adapter, 4), "difference": round(each.difference, 4),
            "interval": [round(each.low, 4), round(each.high, 4)],
        }
        for name, each in found.items()
    }  # fmt: skip
    why = Counter(piece.why for result in results for piece in result.pieces)
    gained = sum(result.exact[1] > result.exact[0] for result in results)
    lost = sum(result.exact[1] < result.exact[0] for result in results)
    return {
        "holes": len(results), "files": len({result.path for result in results}), **figures,
        "gained": gained, "lost": lost,
        "pieces": dict(sorted(why.items())), "without_pieces": sum(not result.pieces for result in results),
        "leaking_pieces_dropped": sum(result.leaked for result in results),
    }  # fmt: skip


def measure(folder: Path, count: int, base: str, tokens: int) -> dict[str, object]:
    workspace = Workspace(folder)
    workspace.refresh()
    found = documents(folder)
    placed = holes.cut_out(holes.places(found, count, MAX_TOKENS, 0), found)
    with served(ModelConfig(base=base), CONTEXT_TOKENS, MAX_TOKENS, repository_tokens=tokens) as service:
        return summary(asyncio.run(answers(service, workspace.index, placed, tokens)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--holes", type=int, default=100)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    given = parser.parse_args()
    print(json.dumps(measure(given.folder, given.holes, given.base, given.tokens)))


if __name__ == "__main__":
    main()
