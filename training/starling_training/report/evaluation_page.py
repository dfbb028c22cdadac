"""`summary.html` of a run: one self-contained page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from starling_training.report import comparison, plots, summary, training_page
from starling_training.report.comparison import verdict
from starling_training.report.evaluation_console import GROUPED, alone, chance
from starling_training.scoring.intervals import RESAMPLES, Comparison
from starling_training.scoring.result_file import Run
from starling_training.scoring.scores import Group, Scores

TEMPLATE = "evaluation.html.j2"
EXAMPLES = 8
SAVED = ("characters saved", "keys saved", "wrong suggestions")
DRAWN = (*training_page.DRAWN, "pass@1")


def render(run: Run, found: Mapping[str, Comparison], judged: Scores) -> str:
    """The page; all text from the sources is escaped."""
    two = len(run.sides) == 2
    return training_page.template(TEMPLATE).render(
        run=run,
        sides=run.sides,
        verdict=verdict(found, run.sides, run.elsewhere),
        heads=[*run.sides, "difference", "95 % interval", "sign test"] if two else [run.sides[0], "95 % interval"],
        rows=[(_cells(name, figure, two), summary.FIGURES[name][1]) for name, figure in found.items()],
        asked=f"{len(run.trials)} holes" if run.trials else f"{len(run.typed)} texts, typed key by key",
        resamples=RESAMPLES,
        enough=summary.ENOUGH,
        groups=_groups(run, judged) if two else [],
        plots={name: Markup(svg) for name, svg in _plots(run, found).items()},
        percentiles=_percentiles(run),
        examples=_examples(run) if two and run.trials else {},
        differing=len(comparison.differing(run.trials)),
    )


def _cells(name: str, figure: Comparison, two: bool) -> tuple[str, ...]:
    return (*summary.cells(name, figure), chance(figure)) if two else alone(name, figure)


def _plots(run: Run, found: Mapping[str, Comparison]) -> dict[str, str]:
    drawn = dict[str, str]()
    for name, count, wanted in (("figures", len(run.trials), DRAWN), ("saved", len(run.typed), SAVED)):
        whole = Group(count, found)
        panels = [_panel(figure, [whole], run) for figure in wanted if figure in found]
        if panels:
            drawn[name] = plots.bars(panels)
    if "latency" in found:
        drawn["latency"] = plots.latency(_times(run))
    return drawn


def _panel(name: str, groups: Sequence[Group], run: Run) -> plots.Panel:
    made = training_page.panel(name, groups, (run.sides[0], run.sides[-1]))
    bars = made.bars if len(run.sides) == 2 else made.bars[: len(groups)]
    return plots.Panel(made.title, made.unit, bars, made.percent)


def _times(run: Run) -> list[tuple[plots.Tone, str, list[float]]]:
    first: tuple[plots.Tone, str, list[float]] = "base", run.sides[0], [trial.base.ms for trial in run.trials]
    if len(run.sides) == 1:
        return [first]
    return [first, ("adapter", run.sides[1], [trial.adapter.ms for trial in run.trials])]


def _percentiles(run: Run) -> str:
    said = list[str]()
    for _, name, times in _times(run) if run.trials else []:
        half, most = np.percentile(times, [50, 95])
        said.append(f"{name}: half of them within {half:.0f} ms, 95 % within {most:.0f} ms.")
    return " ".join(said)


def _groups(run: Run, judged: Scores) -> list[tuple[str, Markup, dict[str, Any]]]:
    found = {
        "kind of hole": judged.by_kind,
        "language": judged.by_language,
        "closeness": judged.by_near,
    }
    return [(title, *_group(groups, run)) for title, groups in found.items() if len(groups) > 1]


def _group(groups: Mapping[str, Group], run: Run) -> tuple[Markup, dict[str, Any]]:
    names = [name for name in GROUPED if all(name in group.figures for group in groups.values())]
    titles = [f"{name} ({group.holes})" for name, group in groups.items()]
    drawing = plots.rows(titles, [_panel(name, list(groups.values()), run) for name in names])
    rows = [
        (name, group.holes, [summary.group_cells(figure, group) for figure in names]) for name, group in groups.items()
    ]
    return Markup(drawing), {"names": names, "rows": rows}


def _examples(run: Run) -> dict[str, list[comparison.Example]]:
    return {
        f"Where {run.sides[1]} gained most": comparison.gained(run.trials, EXAMPLES),
        "Where it lost most": comparison.lost(run.trials, EXAMPLES),
    }
