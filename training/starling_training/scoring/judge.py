"""Evaluation of base and adapter at the same holes, one by one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from starling_server.config import ModelConfig
from starling_server.files.languages import language
from starling_server.models import adapters
from starling_training.examples.dataset import Writer
from starling_training.examples.others import Others
from starling_training.examples.spans import Hole
from starling_training.scoring.engines import PLAIN, Engine, Manner, in_process, served
from starling_training.scoring.metrics import parses
from starling_training.scoring.trials import Answer, Placed, Trial, truth

GoOn = Callable[[int], bool]
"""Takes the number of holes done; returns whether to continue."""


def judge(
    folder: Path,
    model: ModelConfig,
    holes: Sequence[Placed],
    writer: Writer,
    go_on: GoOn,
    others: Others | None = None,
) -> list[Trial]:
    """Run the base and the adapter in `folder` at each hole; each gets other files if it has learnt to read them."""
    adapter = adapters.load(folder)
    manner = Manner(others=others)
    with served(model, writer.context_tokens, writer.max_tokens, adapter) as service:
        return asyncio.run(both(in_process(service), in_process(service, adapter.name), holes, go_on, manner))


def judge_base(
    folder: Path,
    model: ModelConfig,
    holes: Sequence[Placed],
    writer: Writer,
    go_on: GoOn,
    others: Others | None = None,
) -> list[Trial]:
    """As `judge`, for a whole model in `folder`: the models run one after the other, because each fills the memory."""
    sizes, manner = (writer.context_tokens, writer.max_tokens), Manner(others=others)
    before = ask(model, holes, *sizes, lambda done: go_on(done // 2), manner)
    trained, count = replace(model, base=str(folder)), len(before)
    tokens = writer.repository_tokens or None
    after = ask(trained, holes, *sizes, lambda done: go_on((count + done) // 2), manner, tokens)
    return paired(holes, before, after)


def ask(
    model: ModelConfig,
    holes: Sequence[Placed],
    context_tokens: int,
    max_tokens: int,
    go_on: GoOn,
    manner: Manner = PLAIN,
    repository_tokens: int | None = None,
) -> list[Answer]:
    """A base's answer at each hole."""
    with served(model, context_tokens, max_tokens, repository_tokens=repository_tokens) as service:
        return asyncio.run(alone(in_process(service), holes, go_on, manner))


async def both(
    base: Engine, adapter: Engine, holes: Sequence[Placed], go_on: GoOn, manner: Manner = PLAIN
) -> list[Trial]:
    """Both engines at each hole in turn."""
    trials = list[Trial]()
    for path, hole in holes:
        first, second = await answer(base, path, hole, manner), await answer(adapter, path, hole, manner)
        trials.append(Trial(path, hole, truth(hole, manner.mode), first, second))
        if not go_on(len(trials)):
            break
    return trials


async def alone(engine: Engine, holes: Sequence[Placed], go_on: GoOn, manner: Manner = PLAIN) -> list[Answer]:
    """One engine at each hole."""
    answers = list[Answer]()
    for path, hole in holes:
        answers.append(await answer(engine, path, hole, manner))
        if not go_on(len(answers)):
            break
    return answers


async def answer(engine: Engine, path: str, hole: Hole, manner: Manner = PLAIN) -> Answer:
    """The answer of `engine` at `hole`, and whether the document parses with it."""
    found = await engine.ask(hole, manner)
    named = language(path)
    if not parses(hole.prefix + truth(hole, manner.mode) + hole.suffix, named):
        return found
    return replace(found, valid=parses(hole.prefix + found.text + hole.suffix, named))


def paired(
    holes: Sequence[Placed], base: Sequence[Answer], adapter: Sequence[Answer], manner: Manner = PLAIN
) -> list[Trial]:
    """Trials from the answers of two engines at the same holes, up to the shorter list."""
    asked = zip(holes, base, adapter, strict=False)
    return [Trial(path, hole, truth(hole, manner.mode), first, second) for (path, hole), first, second in asked]
