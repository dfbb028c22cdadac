"""What a person sees while `train-copilot` runs."""

import collections
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from starling_training import origins, report
from starling_training.canaries import Canary
from starling_training.clean import Redaction
from starling_training.config import DataConfig, LoraConfig, Method, OptimConfig, TrainConfig
from starling_training.corpus import Corpus
from starling_training.evaluate import Comparison, Trial
from starling_training.memory import GIGA, Memory
from starling_training.plan import Plan
from starling_training.split import Split
from starling_training.watch import Curve

SHOWN_PLACES = 3
Where = Mapping[str, str]
"""Setting to where its value came from."""


def settings(config: TrainConfig) -> dict[str, Any]:
    """Every setting by its flag's name."""
    top = {
        "sources": " ".join(map(origins.shown, config.sources)),
        "name": config.name,
        "output": config.output,
        "holes": config.holes,
        "canaries": config.canaries,
        "fail_on_leak": config.fail_on_leak,
    }
    model = {"base": config.model.base, "device": config.model.device, "quantize": config.model.quantize}
    top |= {"weights": ",".join(f"{weight:g}" for weight in config.weights)} if config.weights else {}
    groups: Sequence[DataConfig | LoraConfig | OptimConfig] = (config.data, config.lora, config.optim)
    return top | model | {item.name: getattr(group, item.name) for group in groups for item in fields(group)}


def configuration(console: Console, asked: TrainConfig, resolved: TrainConfig, where: Where) -> None:
    """The resolved configuration, each value with where it came from."""
    table = Table("setting", "value", "from", title="Configuration", title_justify="left")
    before = settings(asked)
    for name, value in settings(resolved).items():
        origin = where.get(name, "default") if before[name] == value else "chosen for this base and machine"
        table.add_row(name.replace("_", "-"), escape(_number(value)), origin)
    console.print(table)


def corpus(console: Console, read: Corpus, split: Split) -> None:
    """What was read, what was dropped and why, what is held out."""
    table = Table("files", "", title=escape(f"Source {read.title}"), title_justify="left")
    for language, count in read.languages.items():
        table.add_row(language, str(count))
    for reason, count in read.dropped.items():
        table.add_row(f"[dim]left out: {reason}", f"[dim]{count}")
    if split.near_duplicates:
        table.add_row("[dim]left out: near duplicate", f"[dim]{split.near_duplicates}")
    table.add_row("held out for judging", f"{len(split.held_out)} of {len(read.documents)}")
    console.print(table)
    if read.redactions:
        console.print(_secrets(read.redactions))


def plan(console: Console, planned: Plan) -> None:
    """How large the run is."""
    console.print(
        f"Plan: {planned.steps:,} steps, {planned.examples:,} examples, about {planned.tokens:,} tokens, "
        f"about {planned.minutes:.1f} minutes of training on this machine."
    )


def memory(console: Console, plans: Mapping[Method, Memory], method: Method, free: int) -> None:
    """What each way to train would hold, this run's in bold, and what is free."""
    table = Table(
        title=f"Memory of this run, {method}, and of others, in GB without the libraries'", title_justify="left"
    )
    names = ("weights", "adapter", "gradients", "optimizer", "activations", "total")
    for head in ("", *names):
        table.add_column(head, justify="right" if head else "left")
    for name, planned in plans.items():
        cells = [f"{getattr(planned, part) / GIGA:.2f}" for part in names]
        table.add_row(f"[bold]{name}" if name == method else f"[dim]{name}", *cells)
    console.print(table)
    if plans[method].total > free:
        console.print(
            f"Note: {free / GIGA:.1f} GB are free. If memory runs out on a GPU, forwards get smaller and the run goes "
            "on; a smaller --context-tokens or --batch takes less from the start."
        )


def figures(console: Console, compared: Mapping[str, Comparison], trials: Sequence[Trial]) -> None:
    """Base against adapter, with intervals."""
    table = Table(title=f"Base against adapter on {len(trials)} held-out holes", title_justify="left")
    for head in ("", "base", "adapter", "difference", "95 % interval"):
        table.add_column(head, justify="right" if head else "left")
    for name, figure in compared.items():
        table.add_row(*report.cells(name, figure))
    console.print(table)


def leaks(console: Console, asked: int, leaked: Sequence[Canary]) -> None:
    """How many secrets came back, and where those had been."""
    console.print(f"Asked for {asked} of the secrets that were replaced: {len(leaked)} given back.")
    for canary in leaked:
        console.print(f"  {canary.kind} of {canary.path}:{canary.line}", markup=False)


class Bar:
    """The progress bar of a run; without a terminal, one line per evaluation."""

    def __init__(self, console: Console, progress: Progress, steps: int) -> None:
        self._console, self._progress = console, progress
        self._task = progress.add_task("training", total=steps, loss="", held_out="")
        self._shown = 0

    def __call__(self, step: int, loss: float, curve: Curve) -> None:
        """Step `step` is done, with this loss."""
        self._progress.update(self._task, completed=step, loss=f"loss {loss:.2f}")
        for point in curve.points[self._shown :]:
            self._progress.update(self._task, held_out=f"held-out {point.held_out:.3f}")
            if not self._console.is_terminal:
                self._console.print(f"step {point.step}, {point.seconds:.0f} s: held-out loss {point.held_out:.3f}")
        self._shown = len(curve.points)


@contextmanager
def bar(console: Console, steps: int) -> Generator[Bar]:
    """A bar that is there while the block runs."""
    with _progress(console, "{task.fields[loss]}", "{task.fields[held_out]}") as progress:
        yield Bar(console, progress, steps)


@contextmanager
def counter(console: Console, what: str, total: int) -> "Generator[Counter]":
    """A bar that counts."""
    with _progress(console) as progress:
        yield Counter(progress, what, total)


class Counter:
    """Counts up to a total."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def __call__(self, done: int) -> None:
        """`done` of the total are done."""
        self._progress.update(self._task, completed=done)


def _progress(console: Console, *more: str) -> Progress:
    texts = (TextColumn(text) for text in more)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *texts,
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def _secrets(redactions: Sequence[Redaction]) -> Table:
    """How many secrets of each kind were taken out, and where; never what they are."""
    table = Table("secrets replaced", "", "where", title_justify="left")
    for kind, count in collections.Counter(redaction.kind for redaction in redactions).most_common():
        places = [f"{found.path}:{found.line}" for found in redactions if found.kind == kind]
        more = f" and {len(places) - SHOWN_PLACES} more" if len(places) > SHOWN_PLACES else ""
        table.add_row(kind, str(count), escape(", ".join(places[:SHOWN_PLACES]) + more))
    return table


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
