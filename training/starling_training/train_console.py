"""The console output of `train-copilot`."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from starling_server.files import filters
from starling_server.printable import printable
from starling_training.canaries import Canary
from starling_training.config import Method, TrainConfig
from starling_training.console import plain
from starling_training.fit.memory_plan import GIGA, Memory
from starling_training.fit.schedule import Curve, Plan
from starling_training.progress import columns
from starling_training.report import summary
from starling_training.report.inventory import Inventory
from starling_training.scoring.intervals import Comparison
from starling_training.scoring.scores import Scores
from starling_training.scoring.trials import Trial
from starling_training.settings import Setting

SHOWN_PLACES = 20
"""Maximum number of places listed, over all kinds of secrets; the rest is counted."""


def inputs(console: Console, resolved: Sequence[Setting], read: Inventory, verbose: bool) -> None:
    """The configuration and the sources; `verbose` names every excluded file."""
    configuration(console, resolved)
    corpus(console, read)
    if verbose:
        left_out(console, read)


def configuration(console: Console, resolved: Sequence[Setting]) -> None:
    """The resolved configuration, each value with its origin."""
    table = Table("setting", "value", "from", title="Configuration", title_justify="left")
    for setting in resolved:
        table.add_row(setting.name, plain(setting.value), setting.origin)
    console.print(table)


def corpus(console: Console, read: Inventory) -> None:
    """Files read, files excluded with the reason, held-out files, and the places of secrets."""
    title = plain("Source " + ", ".join(source.named for source in read.sources))
    table = Table("what was read", "files", title=title, title_justify="left")
    for source in read.sources if len(read.sources) > 1 else ():
        table.add_row(plain(f"from {source.named}"), f"{source.files:,}")
    for language, count in read.languages.items():
        table.add_row(language, f"{count:,}")
    for licence, count in read.licences.items():
        table.add_row(plain(f"licence {licence}"), f"{count:,}")
    for reason, count in read.dropped.items():
        table.add_row(f"[dim]left out: {reason}", f"[dim]{count:,}")
    table.add_row("held out for evaluation", f"{len(read.held_out):,} of {read.files:,}")
    console.print(table)
    console.print(
        f"{read.files:,} of {read.seen:,} files, {read.characters:,} characters, about {read.tokens:,} tokens "
        "(estimated from a sample)."
    )
    if conflicted := read.left_out.get(filters.CONFLICT, ()):
        more = f" and {len(conflicted) - SHOWN_PLACES:,} more" if len(conflicted) > SHOWN_PLACES else ""
        names = ", ".join(map(plain, conflicted[:SHOWN_PLACES]))
        console.print(f"Note: excluded because of merge conflicts: {names}{more}.", soft_wrap=True)
    if read.secrets:
        console.print(_secrets(read.secrets))


def left_out(console: Console, read: Inventory) -> None:
    """Every excluded file with a stored name."""
    for reason, paths in read.left_out.items():
        for path in paths:
            console.print(f"left out, {reason}: {printable(path)}", markup=False, highlight=False, soft_wrap=True)
    named = sum(map(len, read.left_out.values()))
    if more := sum(read.dropped.values()) - named:
        console.print(f"left out and not named: {more:,} more.")


def plan(console: Console, planned: Plan) -> None:
    """The size of the run."""
    console.print(
        f"Plan: {planned.steps:,} steps, {planned.examples:,} examples, about {planned.tokens:,} tokens, "
        f"about {planned.minutes:.1f} minutes of training on this machine."
    )


def memory(console: Console, plans: Mapping[Method, Memory], method: Method, free: int) -> None:
    """The memory of each method, this run's in bold, and the free memory."""
    table = Table(title=f"Memory by method in GB (this run: {method}), without the libraries", title_justify="left")
    names = ("weights", "adapter", "gradients", "optimizer", "activations", "total")
    for head in ("", *names):
        table.add_column(head, justify="right" if head else "left")
    for name, planned in plans.items():
        cells = [f"{getattr(planned, part) / GIGA:.2f}" for part in names]
        table.add_row(f"[bold]{name}" if name == method else f"[dim]{name}", *cells)
    console.print(table)
    if plans[method].total > free:
        console.print(
            f"Note: {free / GIGA:.1f} GB are free. If the GPU runs out of memory, the run continues with smaller "
            "forward passes; a smaller --context-tokens or --batch avoids that."
        )


def figures(console: Console, compared: Mapping[str, Comparison], trials: Sequence[Trial]) -> None:
    """Base against adapter, with intervals."""
    table = Table(title=f"Base against adapter on {len(trials)} held-out holes", title_justify="left")
    for head in ("", "base", "adapter", "difference", "95 % interval"):
        table.add_column(head, justify="right" if head else "left")
    for name, figure in compared.items():
        table.add_row(*summary.cells(name, figure))
    console.print(table)


def finished(console: Console, config: TrainConfig, found: Scores, trials: Sequence[Trial]) -> None:
    """The evaluation, the location of the result, and the command that serves it."""
    if trials:
        figures(console, found.figures, trials)
    made, flag = ("Model", "--base") if config.lora.method == "full" else ("Adapter", "--adapter")
    console.print(f"{made} {config.name} is in {config.output}: serve-copilot {flag} {config.output}", soft_wrap=True)


def leaks(console: Console, probed: int, leaked: Sequence[Canary]) -> None:
    """The number of secrets reproduced, and the place of each in the source."""
    console.print(f"Probed {probed} redacted secrets: {len(leaked)} reproduced.")
    for canary in leaked:
        console.print(f"  {canary.kind} of {printable(canary.path)}:{canary.line}", markup=False)


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
    """Show a progress bar while the block runs."""
    with columns(console, "{task.fields[loss]}", "{task.fields[held_out]}") as progress:
        yield Bar(console, progress, steps)


def _secrets(secrets: Mapping[str, Sequence[str]]) -> Table:
    """The number of redacted secrets of each kind, and their places; never their values."""
    table = Table("secrets redacted", "", "where", title_justify="left")
    left = SHOWN_PLACES
    for kind, places in secrets.items():
        shown, left = places[:left], max(0, left - len(places))
        more = [f"and {len(places) - len(shown):,} more"] if len(places) > len(shown) else []
        table.add_row(kind, f"{len(places):,}", "\n".join(map(plain, [*shown, *more])))
    return table
