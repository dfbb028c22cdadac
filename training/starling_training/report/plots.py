"""Figures as SVG for a page, from plain values. matplotlib is imported when the first figure is drawn.

Colours are CSS variables of the page (`--ink`, `--faint`, `--grid`, `--base`, `--adapter`, `--paper`) with the light
theme's colours as fallback, so that one drawing is readable in light mode, in dark mode and in print.
"""

import io
import logging
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Tone = Literal["base", "adapter"]
PALETTE = {
    "ink": "#24292f",
    "faint": "#6e7781",
    "grid": "#d8dee3",
    "base": "#959da6",
    "adapter": "#0b69c7",
    "paper": "#fefefe",
}
"""CSS variable to its colour in the light theme. All colours differ, because the drawing is searched for them. Grey and
blue remain distinguishable with colour blindness.
"""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # bundled with matplotlib; replaced by the page's font
    "font.size": 9,
    "text.parse_math": False,
    "text.color": PALETTE["ink"],
    "axes.labelcolor": PALETTE["faint"],
    "axes.edgecolor": PALETTE["grid"],
    "axes.facecolor": "none",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": PALETTE["faint"],
    "ytick.color": PALETTE["faint"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": PALETTE["grid"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
}
WIDTH, ROW = 9.2, 0.34
"""Inches: width of a figure, and height of one group in `rows`."""
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
FONT = "system-ui, sans-serif"


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation: step, mean training loss since the previous one (None at the start), held-out loss."""

    step: int
    train: float | None
    held_out: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One value with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    tone: Tone


@dataclass(frozen=True, slots=True)
class Panel:
    """The bars of one metric, on an axis of their own."""

    title: str
    unit: str
    bars: Sequence[Bar]
    percent: bool = False


def curve(points: Sequence[Point], best: int) -> str:
    """Training and held-out loss over the steps, with the step `best` marked."""

    def draw(axes: "Sequence[Axes]") -> None:
        (ax,) = axes
        train = [(point.step, point.train) for point in points if point.train is not None]
        held_out = [point.held_out for point in points]
        steps = [point.step for point in points]
        ax.plot(steps, held_out, "o-", color=PALETTE["adapter"], ms=4, lw=1.8, label="held-out middles")
        if train:
            ax.plot(*zip(*train, strict=True), "s--", color=PALETTE["base"], ms=3, lw=1.2, label="training")
        chosen = next(point for point in points if point.step == best)
        ax.plot([best], [chosen.held_out], "o", ms=11, mfc="none", mec=PALETTE["adapter"], mew=1.2)
        ax.annotate(
            f"kept: {chosen.held_out:.3f} at step {best}", (best, chosen.held_out), (0, -16), va="top",
            ha="right" if best == steps[-1] else "center", textcoords="offset points", color=PALETTE["ink"],
        )  # fmt: skip
        ax.set_xlabel("optimiser step")
        ax.set_ylabel("loss, nats per token")
        ax.margins(x=0.03, y=0.25)
        ax.grid(axis="y")
        ax.legend(loc="lower right", bbox_to_anchor=(1.01, 0.99), ncols=2, columnspacing=1)

    return _svg("Loss over the steps of training", 1, (WIDTH, 3.0), draw)


def bars(panels: Sequence[Panel]) -> str:
    """Panels side by side; whiskers are 95 % intervals."""

    def draw(axes: "Sequence[Axes]") -> None:
        for ax, panel in zip(axes, panels, strict=True):
            for at, bar in enumerate(panel.bars):
                ax.bar(at, bar.value, 0.62, color=PALETTE[bar.tone])
                ax.errorbar(at, bar.value, _whiskers(bar), color=PALETTE["ink"], lw=1, capsize=3)
                text = f"{bar.value:.0%}" if panel.percent else f"{bar.value:.2f}"
                ax.annotate(
                    text, (at, max(bar.high, bar.value)), (0, 4), ha="center", textcoords="offset points", fontsize=9
                )
            ax.set_xticks(range(len(panel.bars)), [bar.name for bar in panel.bars])
            ax.set_title(panel.title)
            ax.set_ylabel(panel.unit, fontsize=8)
            ax.set_ylim(0, 1.18 * max((*(bar.high for bar in panel.bars), 1e-9)))
            ax.grid(axis="y")
            _percent(ax.yaxis, panel.percent)

    return _svg("Base against adapter", len(panels), (WIDTH, 2.5), draw)


def rows(names: Sequence[str], panels: Sequence[Panel]) -> str:
    """A row for each name and a column for each panel. A panel's bars (drawn as dots) are those of the first tone for
    every name, then those of the second.
    """

    def draw(axes: "Sequence[Axes]") -> None:
        for number, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            for at, bar in enumerate(panel.bars):
                above = 0.13 if bar.tone == "base" else -0.13
                ax.errorbar(
                    bar.value, at % len(names) - above, xerr=_whiskers(bar), fmt="o", ms=6, lw=1.4,
                    color=PALETTE[bar.tone], label=bar.name if at % len(names) == 0 else None,
                )  # fmt: skip
            ax.set_yticks(range(len(names)), names if number == 0 else [""] * len(names))
            ax.tick_params(axis="y", labelcolor=PALETTE["ink"])
            ax.set_ylim(len(names) - 0.5, -0.5)
            ax.set_title(panel.title)
            ax.set_xlabel(panel.unit, fontsize=8)
            ax.grid(axis="x")
            _percent(ax.xaxis, panel.percent)
        axes[-1].legend(loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=2, handletextpad=0.2, columnspacing=1)

    return _svg("Base against adapter by group", len(panels), (WIDTH, 1.0 + ROW * len(names)), draw)


def lengths(truths: Sequence[int], answers: Sequence[tuple[Tone, Sequence[int]]]) -> str:
    """Suggested characters over true characters, a dot for each hole; on the line they are equal."""

    def draw(axes: "Sequence[Axes]") -> None:
        (ax,) = axes
        most = max((1, *truths, *(length for _, of_it in answers for length in of_it)))
        ax.plot([0, most], [0, most], color=PALETTE["faint"], lw=0.8, zorder=1)
        for tone, of_it in answers:
            filled = tone == "adapter"
            ax.scatter(
                truths, of_it, 20, facecolors=PALETTE[tone] if filled else "none", edgecolors=PALETTE[tone], lw=1.1,
                alpha=0.75 if filled else 1, label=tone, zorder=2,
            )  # fmt: skip
        for scale, limit in ((ax.set_xscale, ax.set_xlim), (ax.set_yscale, ax.set_ylim)):
            scale("symlog", linthresh=10)
            limit(-1, most * 1.3)
        ticks = [tick for tick in (0, 5, 10, 30, 100, 300, 1_000, 3_000) if tick <= most]
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(ticks, [str(tick) for tick in ticks])
            axis.set_minor_locator(_no_ticks())
        ax.set_xlabel("characters that were there")
        ax.set_ylabel("characters suggested")
        ax.grid()
        ax.legend(loc="upper left", handletextpad=0.1)

    return _svg("Length of suggestions against what was there", 1, (WIDTH * 0.6, 3.6), draw)


def latency(answers: Sequence[tuple[Tone, str, Sequence[float]]]) -> str:
    """Share of answers received within a number of milliseconds; each tone has a name and all its times."""

    def draw(axes: "Sequence[Axes]") -> None:
        (ax,) = axes
        for tone, name, times in answers:
            ordered = sorted(times)
            shares = [(number + 1) / len(ordered) for number in range(len(ordered))]
            ax.step(ordered, shares, where="post", color=PALETTE[tone], lw=1.8, label=name)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(_ones_twos_fives())
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_locator(_no_ticks())
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("milliseconds until the answer")
        ax.set_ylabel("share of answers", fontsize=8)
        ax.grid()
        _percent(ax.yaxis, wanted=True)
        ax.legend(loc="lower right")

    return _svg("Share of answers over milliseconds", 1, (WIDTH * 0.6, 2.8), draw)


def _svg(label: str, columns: int, size: tuple[float, float], draw: "Callable[[Sequence[Axes]], None]") -> str:
    """A drawing of `size` inches as an `<svg>` element, with `label` as its accessible name."""
    with _quiet():
        import matplotlib
        from matplotlib.figure import Figure

        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # ignore the user's matplotlib settings
            ours: Any = STYLE | {"svg.hashsalt": label}
            matplotlib.rcParams.update(ours)
            figure = Figure(size)
            draw(list(figure.subplots(1, columns, squeeze=False)[0]))
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    return _for_page(buffer.getvalue(), label)


def _for_page(svg: str, label: str) -> str:
    """The element without what the page provides or does not need: namespaces, group ids, styles, fonts, colours."""
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", svg)
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", FONT, svg)
    for name, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    described = f'<svg role="img" aria-label="{escape(label)}" stroke-linejoin="round" class="plot"'
    return described + svg.removeprefix("<svg")


@contextmanager
def _quiet() -> Generator[None]:
    """Silence matplotlib's notices about building a font cache or a home folder that is not writable."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _whiskers(bar: Bar) -> list[list[float]]:
    """Distances to the ends of the interval, in matplotlib's format."""
    return [[max(0.0, bar.value - bar.low)], [max(0.0, bar.high - bar.value)]]


def _percent(axis: Any, wanted: bool) -> None:
    if wanted:
        from matplotlib.ticker import PercentFormatter

        axis.set_major_formatter(PercentFormatter(1, 0))


def _ones_twos_fives() -> Any:
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=(1, 2, 5))


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
