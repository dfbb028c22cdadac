"""Figures as SVG: whole, named, in the page's colours, and drawn without a word."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from starling_training.report import plots
from starling_training.report.plots import Bar, Panel, Point

CURVE = plots.curve([Point(0, None, 4.5), Point(10, 4.1, 4.0), Point(20, 3.5, 4.2)], best=10)
PAIR = [Bar("base", 0.2, 0.1, 0.3, "base"), Bar("adapter", 0.5, 0.4, 0.65, "adapter")]
BARS = plots.bars([Panel("exact match", "share of holes", PAIR, percent=True), Panel("loss", "nats per token", PAIR)])
ROWS = plots.rows(["line (30)", "block (2)"], [Panel("loss", "nats per token", [PAIR[0]] * 2 + [PAIR[1]] * 2)])
LENGTHS = plots.lengths([0, 4, 90], [("base", [0, 0, 3]), ("adapter", [1, 4, 200])])
LATENCY = plots.latency([("base", "base", [30.0, 12.0, 900.0]), ("adapter", "mine", [20.0])])
DRAWN = {"curve": CURVE, "bars": BARS, "rows": ROWS, "lengths": LENGTHS, "latency": LATENCY}
DRAW = "from starling_training.report import plots; plots.curve([plots.Point(0, None, 4.5), plots.Point(9, 4, 4)], 9)"


def words(svg: str) -> list[str]:
    return [re.sub(r"<[^>]*>", "", text) for text in re.findall(r"<text.*?</text>", svg, re.DOTALL)]


@pytest.mark.parametrize("svg", DRAWN.values(), ids=DRAWN)
def test_a_figure_is_one_element_in_the_page_s_colours(svg: str) -> None:
    ElementTree.fromstring(f'<page xmlns:xlink="x">{svg}</page>')
    assert svg.startswith("<svg")
    assert 'role="img" aria-label="' in svg
    assert "http" not in svg
    assert "<style" not in svg
    assert not re.findall(r"(?<!, )#[0-9a-f]{6}", svg), "a colour that is no variable"


def test_axes_have_names_and_units() -> None:
    assert {"optimiser step", "loss, nats per token", "training", "held-out middles"} < set(words(CURVE))
    assert {"milliseconds until the answer", "share of answers", "base", "mine"} < set(words(LATENCY))
    assert {"exact match", "share of holes", "nats per token", "base", "adapter"} < set(words(BARS))
    assert {"line (30)", "block (2)", "nats per token", "base", "adapter"} < set(words(ROWS))
    assert {"characters that were there", "characters suggested", "base", "adapter"} < set(words(LENGTHS))


def test_values_are_written_beside_their_marks() -> None:
    assert "kept: 4.000 at step 10" in words(CURVE)
    assert {"20%", "50%", "0.20", "0.50"} < set(words(BARS))


def test_the_same_values_make_the_same_drawing_and_others_another() -> None:
    assert plots.bars([Panel("loss", "nats", PAIR)]) == plots.bars([Panel("loss", "nats", PAIR)])
    assert plots.bars([Panel("loss", "nats", PAIR)]) != plots.bars([Panel("loss", "nats", PAIR[::-1])])


def test_two_drawings_on_one_page_share_no_ids() -> None:
    ids = [set(re.findall(r' id="([^"]*)"', svg)) for svg in (CURVE, BARS, ROWS, LENGTHS)]
    assert sum(map(len, ids)) == len(set[str]().union(*ids)) > 0


def draw(own: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-c", DRAW]
    variables = {**os.environ, "MPLCONFIGDIR": str(own), **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=own.parent)


@pytest.mark.slow
def test_drawing_says_nothing_when_fonts_are_looked_up_for_the_first_time(tmp_path: Path) -> None:
    done = draw(tmp_path / "own")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "own").glob("fontlist*"))


def test_drawing_says_nothing_where_its_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "matplotlibrc").write_text("no such setting: 1\n")
    done = draw(tmp_path / "file")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_matplotlib_waits_for_the_first_figure() -> None:
    imports = "import sys, starling_training.report.outputs, starling_training.train_cli"
    check = f"{imports}; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
