"""`summary.html`: a whole run on one self-contained page, for a browser or a printer."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from starling_server.models.manifest import Manifest
from starling_training.report import comparison, plots, summary
from starling_training.report.inventory import Inventory
from starling_training.report.plots import Bar, Panel, Point
from starling_training.scoring.scores import Group, Scores
from starling_training.scoring.trials import Trial

TEMPLATE = "report.html.j2"
EXAMPLES = 4
"""Number of holes shown where the adapter gained, and where it lost."""
SHOWN = 20
"""Paths shown of a list; the rest is counted here and listed in corpus.json."""
DRAWN = ("middle loss", "exact match", "edit similarity", "length ratio", "stop rate")
"""Metrics drawn as bars; all metrics have a table row."""
UNITS = {
    "middle loss": "nats per token",
    "exact match": "share of holes",
    "first line": "share of holes",
    "edit similarity": "1 is equal",
    "identifiers": "F1",
    "valid syntax": "share of holes",
    "pass@1": "share of tasks",
    "characters saved": "share of characters",
    "keys saved": "share of characters",
    "wrong suggestions": "share of those shown",
    "length ratio": "suggested / true",
    "stop rate": "share of holes",
}
SHARES = frozenset({
    "exact match", "first line", "stop rate", "valid syntax", "pass@1", "characters saved", "keys saved",
    "wrong suggestions",
})  # fmt: skip
"""Metrics in percent."""


def render(manifest: Manifest, inventory: Inventory, scores: Scores, trials: Sequence[Trial]) -> str:
    """The page; all text from the sources is escaped."""
    made = summary.made(manifest)
    return template(TEMPLATE).render(
        manifest=manifest,
        inventory=inventory,
        shown=SHOWN,
        title=", ".join(source.named for source in inventory.sources),
        sides=("base", "adapter"),
        made=made,
        verdict=summary.verdict(scores.figures, made) if scores.figures else ("unsure", summary.NOT_JUDGED),
        judged=f"{len(trials)} {summary.JUDGED}",
        figures=[(*summary.cells(name, figure), summary.FIGURES[name][1]) for name, figure in scores.figures.items()],
        grouped=summary.IN_GROUPS,
        enough=summary.ENOUGH,
        groups=_groups(scores),
        plots={name: Markup(svg) for name, svg in _plots(manifest, scores, trials).items()},
        examples={
            "Where the adapter gained most": comparison.gained(trials, EXAMPLES),
            "Where it lost most": comparison.lost(trials, EXAMPLES),
        },
        differing=len(comparison.differing(trials)),
        holes=len(trials),
    )


def panel(name: str, groups: Sequence[Group], sides: tuple[str, str] = ("base", "adapter")) -> Panel:
    """The metric `name` of each group, the base's bars first; groups with few holes have no interval."""
    of_base, of_adapter = list[Bar](), list[Bar]()
    for group in groups:
        figure, sure = group.figures[name], group.holes >= summary.ENOUGH
        base_range = figure.base_range if sure else (figure.base, figure.base)
        adapter_range = figure.adapter_range if sure else (figure.adapter, figure.adapter)
        of_base.append(Bar(sides[0], figure.base, *base_range, "base"))
        of_adapter.append(Bar(sides[1], figure.adapter, *adapter_range, "adapter"))
    return Panel(name, UNITS[name], [*of_base, *of_adapter], name in SHARES)


def _plots(manifest: Manifest, scores: Scores, trials: Sequence[Trial]) -> dict[str, str]:
    training = manifest.training
    points = [Point(point["step"], point["train"], point["held_out"]) for point in training["curve"]]
    drawn = {"curve": plots.curve(points, training["best_step"])}
    if not trials:
        return drawn
    all_of_it = Group(len(trials), scores.figures)
    drawn["figures"] = plots.bars([panel(name, [all_of_it]) for name in DRAWN if name in scores.figures])
    drawn["kind"] = _rows(scores.by_kind)
    if len(scores.by_language) > 1:
        drawn["language"] = _rows(scores.by_language)
    truths = [len(trial.truth) for trial in trials]
    base = [len(trial.base.text) for trial in trials]
    adapter = [len(trial.adapter.text) for trial in trials]
    return drawn | {"lengths": plots.lengths(truths, [("base", base), ("adapter", adapter)])}


def _rows(groups: Mapping[str, Group]) -> str:
    names = [f"{name} ({group.holes})" for name, group in groups.items()]
    return plots.rows(names, [panel(name, list(groups.values())) for name in summary.IN_GROUPS])


def _groups(scores: Scores) -> dict[str, Any]:
    """The tables by kind and by language: name, holes, and the cells of the metrics shown."""
    named = {"kind of hole": scores.by_kind}
    if len(scores.by_language) > 1:
        named["language"] = scores.by_language
    return {
        title: [
            (name, group.holes, [summary.group_cells(figure, group) for figure in summary.IN_GROUPS])
            for name, group in groups.items()
        ]
        for title, groups in named.items()
    }


@cache
def template(name: str) -> Template:
    """A template beside this module, with automatic escaping."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)
