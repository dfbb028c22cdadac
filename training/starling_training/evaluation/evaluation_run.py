"""One run of `eval-copilot`, from the engines to the tables and files."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from starling_training import progress
from starling_training.evaluation import holes, sides
from starling_training.evaluation.history import Change
from starling_training.evaluation.sides import Asked, Side
from starling_training.evaluation.typing import type_all
from starling_training.interrupt import Interrupt
from starling_training.report import evaluation_console, evaluation_page
from starling_training.scoring import result_file, scores
from starling_training.scoring.engines import Manner
from starling_training.scoring.judge import GoOn
from starling_training.scoring.result_file import Run
from starling_training.scoring.trials import Placed, Trial
from starling_training.sources import origins
from starling_training.sources.clean import Document
from starling_training.sources.corpus import Corpus
from starling_training.staging import replaced

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Kept:
    """Files for the results, besides the terminal."""

    json: Path | None = None
    report: Path | None = None


@dataclass(frozen=True, slots=True)
class Drawing:
    """The holes of a source to evaluate."""

    count: int
    seed: int
    given: Path | None = None
    """A file of places to use instead of drawing new ones."""
    save: Path | None = None


def of_source(asked: Asked, read: Corpus, drawing: Drawing, kept: Kept, console: Console) -> Run:
    """Evaluate holes in held-out files."""
    adapter = sides.trained(asked)
    parts = holes.parts(read, adapter.manifest if adapter else None)
    console.print(parts.said, markup=False, soft_wrap=True)
    most = adapter.manifest.fim.max_tokens if adapter else asked.max_tokens
    drawn = holes.read(drawing.given) if drawing.given else None
    places = drawn or holes.places(parts.judged, drawing.count, most, drawing.seed)
    placed = holes.cut_out(places, read.documents)
    if learnt := {place.path for place in places} - {document.path for document in parts.judged}:
        console.print(f"Note: the adapter was trained on {len(learnt)} of the files with holes.")
    if drawing.save:
        holes.write(places, drawing.save)
    settings = {"holes": str(len(places)), "seed": str(drawing.seed)}
    if parts.elsewhere:
        settings[result_file.TRAINED_ON] = result_file.OTHERS
    learnt = [read.documents[row] for row in parts.learnt] or read.documents
    run = ask_at(asked, placed, read.title, settings, console, (learnt, parts.judged))
    wanted = {place.sha256 for place in places}
    judged = [document for document in read.documents if document.sha256 in wanted]
    labels = holes.likeness_labels(judged, read.signatures[list(parts.learnt)])
    run = replace(run, trials=tuple(sides.with_near(run.trials, [labels[place.sha256] for place in places])))
    finish(run, kept, console)
    return run


def ask_at(
    asked: Asked,
    placed: Sequence[Placed],
    title: str,
    settings: Mapping[str, str],
    console: Console,
    files: tuple[Sequence[Document], Sequence[Document]] = ((), ()),
) -> Run:
    """Evaluate every side at every hole; Ctrl-C returns the results so far.

    `files`: the documents that prompts may hold pieces of, and those with holes.
    """

    async def ask(found: Sequence[Side], go_on: GoOn) -> Run:
        others = asked.others(found, *files) if files[0] else None
        trials = await sides.trials(found, placed, go_on, Manner(others=others))
        used = {"context": (asked.context or "on") if others else "off"}
        return made(asked, title, found, {**settings, **used}, trials)

    return with_sides(asked, len(placed), "asking", ask, console)


def type_at(asked: Asked, changes: Sequence[Change], title: str, settings: Mapping[str, str], console: Console) -> Run:
    """Type each change with every side."""

    async def ask(found: Sequence[Side], go_on: GoOn) -> Run:
        typed = await type_all(found, changes, go_on)
        return replace(made(asked, title, found, settings, []), typed=tuple(typed))

    return with_sides(asked, len(changes), "typing", ask, console)


def finish(run: Run, kept: Kept, console: Console) -> None:
    """Print a run and write the requested files."""
    judged = scores.scores(run.trials)
    found = evaluation_console.figures(run)
    if kept.json:
        result_file.write(run, kept.json)
    if kept.report:
        with replaced(kept.report) as new:
            new.write_text(evaluation_page.render(run, found, judged), encoding="utf-8")
    evaluation_console.show(console, run, found, judged)
    for path in (kept.json, kept.report):
        if path:
            console.print(f"Written: {path}", markup=False, soft_wrap=True)


def with_sides(
    asked: Asked, total: int, what: str, ask: Callable[[list[Side], GoOn], Awaitable[Made]], console: Console
) -> Made:
    """Result of `ask` on the opened sides, with a progress count up to `total`; the first Ctrl-C ends it early."""

    async def within(go_on: GoOn) -> Made:
        async with sides.opened(asked) as found:
            return await ask(found, go_on)

    with Interrupt() as interrupt, progress.until(console, what, total, lambda: interrupt.asked) as go_on:
        interrupt.soften()
        answered = asyncio.run(within(go_on))
        if interrupt.asked:
            console.print("Stopped: what follows is about what was asked until then.")
        return answered


def made(asked: Asked, title: str, found: Sequence[Side], settings: Mapping[str, str], trials: Sequence[Trial]) -> Run:
    """A run with its settings and the current time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    keys = tuple(result_file.key(trial.hole) for trial in trials)
    return Run(title, now, tuple(side.name for side in found), {**_settings(asked), **settings}, tuple(trials), keys)


def _settings(asked: Asked) -> dict[str, str]:
    return {
        "engine": origins.shown(asked.engine),
        "base": asked.model.base,
        "adapter": asked.adapter or "",
        "against": asked.against or "",
        "quantize": asked.model.quantize,
        "dtype": asked.model.dtype,
        "runner": asked.model.runner,
    }
