"""Base against adapter on the same held-out holes, asked through the service that editors are served by.

The truth takes the service's way too: what is compared is what a model that knew the middle would have had inserted.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from starling_server import adapters, stops, window
from starling_server.adapters import BARE, Adapter
from starling_server.config import RULES, ModelConfig, ServiceConfig
from starling_server.extent import decide
from starling_server.runner_cuda import CudaRunner
from starling_server.runner_torch import TorchRunner
from starling_server.schema import CompleteRequest
from starling_server.service import Service
from starling_server.start import start
from starling_server.trim import Place, trim
from starling_training.dataset import Writer
from starling_training.languages import language
from starling_training.spans import Hole

RESAMPLES = 2_000
PATIENCE_MS = 600_000
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """One model at one hole."""

    text: str
    """What the service would insert."""
    stopped: bool
    """Whether the model or a stop rule ended it, not the token limit."""
    nats: float
    """Negative log-probability of the true middle and its end."""
    tokens: int
    """Of the true middle with its end."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One hole and both answers."""

    path: str
    hole: Hole
    truth: str
    """What the service would insert if the model wrote exactly the middle."""
    base: Answer
    adapter: Answer


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure for both models, and the adapter's difference with its 95 % interval (paired bootstrap)."""

    base: float
    adapter: float
    difference: float
    low: float
    high: float
    base_range: tuple[float, float]
    """The base's own 95 % interval."""
    adapter_range: tuple[float, float]
    """The adapter's. The two may overlap where the difference is sure, since it is taken hole by hole."""


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of some of the holes."""

    holes: int
    figures: dict[str, Comparison]


@dataclass(frozen=True, slots=True)
class Scores:
    """All that a judging says in numbers; empty where nothing was judged."""

    figures: dict[str, Comparison]
    by_kind: dict[str, Group]
    """By how the holes were drawn (`spans.Kind`)."""
    by_language: dict[str, Group]


def judge(
    folder: Path,
    model: ModelConfig,
    holes: Sequence[tuple[str, Hole]],
    writer: Writer,
    go_on: Callable[[int], bool],
) -> list[Trial]:
    """Ask the base and the adapter in `folder` at each hole; `go_on` is told the number done and may end it."""
    adapter = adapters.load(folder)
    with served(model, writer.context_tokens, writer.max_tokens, adapter) as service:
        return asyncio.run(_judge(service, adapter.name, holes, writer, go_on))


def judge_base(
    folder: Path,
    model: ModelConfig,
    holes: Sequence[tuple[str, Hole]],
    writer: Writer,
    go_on: Callable[[int], bool],
) -> list[Trial]:
    """As `judge`, where `folder` holds a whole model: one after the other, since each fills the memory."""
    asked = [hole for _, hole in holes]
    before = ask(model, asked, writer.context_tokens, writer.max_tokens, lambda done: go_on(done // 2))
    trained = replace(model, base=str(folder))
    count = len(before)
    after = ask(trained, asked, writer.context_tokens, writer.max_tokens, lambda done: go_on((count + done) // 2))
    return [
        Trial(path, hole, truth(hole), *both)
        for (path, hole), *both in zip(holes, before, after, strict=False)  # fewer where it was ended
    ]


def ask(
    model: ModelConfig, holes: Sequence[Hole], context_tokens: int, max_tokens: int, go_on: Callable[[int], bool]
) -> list[Answer]:
    """What a base answers at each hole; `go_on` is told the number done and may end it."""

    async def ask_all(service: Service) -> list[Answer]:
        writer = Writer(service.model.tokenizer, service.model.fim, context_tokens, max_tokens)
        answers = list[Answer]()
        for hole in holes:
            answers.append(await answer(service, BARE, hole, writer))
            if not go_on(len(answers)):
                break
        return answers

    with served(model, context_tokens, max_tokens) as service:
        return asyncio.run(ask_all(service))


@contextmanager
def served(
    model: ModelConfig, context_tokens: int, max_tokens: int, adapter: Adapter | None = None
) -> Generator[Service]:
    """A base, with its adapter or bare, as editors are served by it, but with all the time in the world."""
    config = ServiceConfig(
        max_tokens=max_tokens, context_tokens=context_tokens, deadline_ms=PATIENCE_MS, prefetch=False
    )
    service = start(model, config, [adapter] if adapter else [])
    try:
        yield service
    finally:
        service.close()


async def answer(service: Service, name: str, hole: Hole, writer: Writer) -> Answer:
    """What the adapter `name` (or `BARE`) answers at `hole` through `service`, and its loss on the true middle."""
    request = CompleteRequest(prefix=hole.prefix, suffix=hole.suffix, adapter=name)
    choice = (await service.complete(request)).choices[0]
    runner = service.model.engine.runner
    assert isinstance(runner, TorchRunner | CudaRunner)
    made = writer.hole(hole, "spm")
    scores = runner.score(None if name == BARE else name, made.ids, made.prompt_tokens)
    return Answer(choice.text, choice.finish_reason != "length", -sum(scores), len(scores))


def truth(hole: Hole) -> str:
    """What the service would insert at `hole` if the model wrote exactly its middle."""
    extent = decide(hole.prefix, hole.suffix, None)
    if extent == "nothing":
        return ""
    text = window.hold_indent(hole.prefix)[1] + hole.middle
    fired = stops.first(stops.rules(extent, hole.prefix, hole.suffix, RULES), text)
    return trim(text[: fired[0]] if fired else text, Place(hole.prefix, hole.suffix))


def compare(trials: Sequence[Trial], seed: int = 0) -> dict[str, Comparison]:
    """Every figure over `trials`, each a ratio of two sums over holes, with intervals."""
    picks = np.random.default_rng(seed).integers(0, len(trials), (RESAMPLES, len(trials)))
    columns = {
        "middle loss": (_column(trials, lambda _, a: a.nats), _column(trials, lambda _, a: a.tokens)),
        "exact match": (_column(trials, lambda t, a: a.text == t), _ones(trials)),
        "edit similarity": (_column(trials, similarity), _ones(trials)),
        "length ratio": (_column(trials, lambda _, a: len(a.text)), _column(trials, lambda t, _: len(t))),
        "stop rate": (_column(trials, lambda _, a: a.stopped), _ones(trials)),
    }
    return {name: _compare(above, below, picks) for name, (above, below) in columns.items()}


def scores(trials: Sequence[Trial]) -> Scores:
    """Every figure over all trials, by kind of hole and by language."""
    if not trials:
        return Scores({}, {}, {})
    by_kind = grouped(trials, lambda trial: trial.hole.kind)
    return Scores(compare(trials), by_kind, grouped(trials, lambda trial: language(trial.path) or "other"))


def grouped(trials: Sequence[Trial], name: Callable[[Trial], str]) -> dict[str, Group]:
    """The figures of each group of trials that share a `name`, largest group first."""
    groups = defaultdict[str, list[Trial]](list)
    for trial in trials:
        groups[name(trial)].append(trial)
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))
    return {name: Group(len(of_it), compare(of_it)) for name, of_it in largest}


async def _judge(
    service: Service, name: str, holes: Sequence[tuple[str, Hole]], writer: Writer, go_on: Callable[[int], bool]
) -> list[Trial]:
    trials = list[Trial]()
    for path, hole in holes:
        base, adapter = await answer(service, BARE, hole, writer), await answer(service, name, hole, writer)
        trials.append(Trial(path, hole, truth(hole), base, adapter))
        if not go_on(len(trials)):
            break
    return trials


def similarity(truth: str, answer: Answer) -> float:
    """1 for equal texts, 0 for texts that share nothing."""
    return Levenshtein.normalized_similarity(truth, answer.text)


def _column(trials: Sequence[Trial], figure: Callable[[str, Answer], float]) -> Floats:
    """A figure for base and adapter at each hole, shape (2, holes)."""
    return np.array([[figure(t.truth, t.base) for t in trials], [figure(t.truth, t.adapter) for t in trials]], float)


def _ones(trials: Sequence[Trial]) -> Floats:
    return np.ones((2, len(trials)))


def _compare(above: Floats, below: Floats, picks: NDArray[np.int64]) -> Comparison:
    """Ratios of sums over all holes and over each resample; `above` and `below` are (2, holes)."""
    base, adapter = above.sum(1) / np.maximum(below.sum(1), 1)
    resampled = above[:, picks].sum(2) / np.maximum(below[:, picks].sum(2), 1)
    low, high = _range(resampled[1] - resampled[0])
    difference = float(adapter - base)
    return Comparison(float(base), float(adapter), difference, low, high, _range(resampled[0]), _range(resampled[1]))


def _range(resampled: Floats) -> tuple[float, float]:
    """What 95 % of the resamples lie in."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)
