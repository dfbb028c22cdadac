"""The console output of `eval-copilot`."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from starling_training.console import plain
from starling_training.report import summary
from starling_training.report.comparison import verdict
from starling_training.scoring import scores
from starling_training.scoring.intervals import Comparison
from starling_training.scoring.keystroke_counts import saved
from starling_training.scoring.result_file import Run
from starling_training.scoring.scores import Group, Scores

GROUPED = ("middle loss", "exact match")


def figures(run: Run) -> dict[str, Comparison]:
    """All metrics of a run: quality, speed, keystrokes."""
    quality = scores.compare(run.trials) | scores.speed(run.trials) if run.trials else {}
    return {**quality, **saved(run.typed)}


def show(console: Console, run: Run, found: Mapping[str, Comparison], judged: Scores) -> None:
    """Print the table of all metrics, the metrics by group, and the verdict."""
    asked = f"{len(run.trials)} holes" if run.trials else f"{len(run.typed)} texts typed"
    table = Table(title=plain(f"{run.title}: {asked}"), title_justify="left")
    if len(run.sides) == 2:
        heads = ["", *map(plain, run.sides), "difference", "95 % interval", "sign p"]
        rows = [[*summary.cells(name, figure), f"{figure.chance:.2g}"] for name, figure in found.items()]
    else:
        heads = ["", plain(run.sides[0]), "95 % interval"]
        rows = [list(alone(name, figure)) for name, figure in found.items()]
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for title, groups in {
        "kind": judged.by_kind, "language": judged.by_language, "similarity to the training data": judged.by_near,
    }.items():  # fmt: skip
        if len(groups) > 1 and len(run.sides) == 2:
            console.print(_by_group(title, groups))
    console.print(plain(verdict(found, run.sides, run.elsewhere)[1]), soft_wrap=True)


def alone(name: str, figure: Comparison) -> tuple[str, str, str]:
    """A metric of one side as text: name, value, interval."""
    shape = summary.FIGURES[name][0]
    low, high = figure.base_range
    return name, shape.format(figure.base), f"{shape.format(low)} to {shape.format(high)}"


def chance(figure: Comparison) -> str:
    """The sign test as text: counts of more and less, and their probability by chance."""
    return f"{figure.more} to {figure.less}, p {figure.chance:.2g}"


def _by_group(title: str, groups: Mapping[str, Group]) -> Table:
    """Loss with its interval and exact match, the columns that fit a terminal; the page has the rest."""
    loss, match = (name if all(name in group.figures for group in groups.values()) else "" for name in GROUPED)
    table = Table(title=f"By {title}", title_justify="left")
    for head in ("", "holes", *((loss, "95 % interval") if loss else ()), *((match,) if match else ())):
        table.add_column(head, justify="right" if head else "left")
    for name, group in groups.items():
        cells = [summary.group_cells(figure, group) for figure in (loss, match) if figure]
        texts = [text for base, adapter, _, interval in cells for text in (f"{base} -> {adapter}", interval)]
        table.add_row(plain(name), str(group.holes), *(texts[:-1] if match else texts))
    return table
