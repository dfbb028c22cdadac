"""`python -m starling_training.base`: builds a bundled base from package names; each stage can be resumed."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from starling_server.config import QUANTIZE, Quantize
from starling_server.errors import UsageError
from starling_server.models import bases, families
from starling_server.models.bases import TINY
from starling_server.models.tokenizer import FileTokenizer
from starling_training import staging
from starling_training.base import base_card, collect, measure, pretrain, stream, vocabulary
from starling_training.base.pretrain import Limits, Run
from starling_training.base.recipe import Recipe
from starling_training.interrupt import Interrupt

TOKENIZER, RUN, MODEL, FIGURES = "tokenizer", "run", "model", "figures.json"
SAVE_SECONDS = 600
SETTINGS = (
    "layers",
    "width",
    "heads",
    "vocabulary",
    "tokens",
    "step_tokens",
    "forward_tokens",
    "muon_rate",
    "adam_rate",
    "start_from",
    "seed",
)
DEFAULTS = Recipe()

FOLDER = click.option(
    "--folder", type=click.Path(path_type=Path), required=True, help="Where everything is kept; some 600 MB."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def base() -> None:
    """Make the bundled base: collect, tokenize, train, export, measure, or `all` of them in turn.

    What a folder holds already is not made again, so the same command goes on where it was stopped.
    """


@base.command("collect")
@FOLDER
@click.option("--only", multiple=True, help="Learn from this package of the list alone; may be repeated.")
def collect_command(folder: Path, only: tuple[str, ...]) -> None:
    """Download the packages on the lists and pack their Python source, filtered and without duplicates."""
    _collect(folder, only, Console())


@base.command("tokenize")
@FOLDER
@click.option("--vocabulary", default=DEFAULTS.vocabulary, show_default=True, help="Tokens in the vocabulary.")
@click.option("--start-from", default=DEFAULTS.start_from, help="Take the vocabulary of this base instead.")
def tokenize_command(folder: Path, vocabulary: int, start_from: str) -> None:
    """Learn the vocabulary and encode the packed corpus."""
    _tokenize(folder, vocabulary, start_from, Console())


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """One flag for each setting of the recipe."""
    for name in reversed(SETTINGS):
        shown = name.replace("_", "-")
        command = click.option(f"--{shown}", default=getattr(DEFAULTS, name), show_default=True)(command)
    return command


TIME = click.option("--minutes", default=0.0, help="Stop after this time, to go on later; 0: when all is learnt.")
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


@base.command("train")
@FOLDER
@TIME
@DEVICE
@_settings
def train_command(folder: Path, minutes: float, device: str, **settings: Any) -> None:
    """Pre-train, or go on with a run that was stopped; Ctrl-C stops it after the running step, saved."""
    _train(folder, Recipe(**settings), minutes, device, Console())


@base.command("export")
@FOLDER
def export_command(folder: Path) -> None:
    """Write the trained model as a folder that --base takes."""
    _export(folder, Console())


@base.command("measure")
@FOLDER
@click.option("--model", default="", help="The base to measure. Default: the exported one.")
@click.option("--against", default=TINY, show_default=True, help="The base to compare it with.")
@click.option("--holes", default=500, show_default=True, help="Ends of lines to ask for; a fifth of other holes.")
@click.option(
    "--quantize",
    type=click.Choice(QUANTIZE),
    default="nf4",
    show_default=True,
    help="Both bases' form. auto is three times as fast on CPUs without AVX512-BF16.",
)
def measure_command(folder: Path, model: str, against: str, holes: int, quantize: Quantize) -> None:
    """Measure a base on packages that none has learnt from, against another; writes figures.json and the card."""
    console = Console()
    name = model or str(folder / MODEL)
    told = partial(console.print, soft_wrap=True)
    figures = measure.measure(name, against, measure.packages(folder), holes, quantize, told)
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if not model:
        base_card.write(folder / MODEL, folder / collect.RECORD, folder / RUN / pretrain.PROGRESS, folder / FIGURES)


@base.command("all")
@FOLDER
@TIME
@DEVICE
@click.option("--only", multiple=True, help="Learn from this package of the list alone; may be repeated.")
@_settings
def all_command(folder: Path, minutes: float, device: str, only: tuple[str, ...], **settings: Any) -> None:
    """Collect, tokenize, train and export; run it again to go on."""
    console = Console()
    if not (folder / collect.RECORD).exists():
        _collect(folder, only, console)
    if not (folder / stream.ENDS).exists():
        _tokenize(folder, settings["vocabulary"], settings["start_from"], console)
    _train(folder, Recipe(**settings), minutes, device, console)
    _export(folder, console)


def _collect(folder: Path, only: tuple[str, ...], console: Console) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    console.print("Downloading and reading packages: some minutes.")
    entries = collect.collect(folder, only)
    chars, files = sum(entry.characters for entry in entries), sum(entry.files for entry in entries)
    console.print(f"{files:,} files with {chars:,} characters from {len(entries)} sources are in {folder}")


def _tokenize(folder: Path, size: int, start_from: str, console: Console) -> None:
    texts = [collect.without_pragmas(document.text) for _, document in collect.unpack(folder / collect.CORPUS)]
    if start_from:
        known = vocabulary.load(bases.find(start_from).path)
        known.save_pretrained(folder / TOKENIZER)
        tokenizer = known.backend_tokenizer
    else:
        tokenizer = vocabulary.train(texts, size)
        vocabulary.save(tokenizer, DEFAULTS.context, folder / TOKENIZER)
    stream.write(texts, tokenizer, vocabulary.SPECIAL.index(vocabulary.END), folder)
    console.print(f"{stream.Stream(folder, 0).tokens:,} tokens of a vocabulary of {tokenizer.get_vocab_size():,}")


def _train(folder: Path, recipe: Recipe, minutes: float, device: str, console: Console) -> None:
    run = _run(folder, recipe, device)
    with Interrupt() as interrupt, _bar(console, recipe.tokens) as show:
        interrupt.soften()
        limits = Limits(minutes * 60, SAVE_SECONDS, lambda: interrupt.asked)
        run.train(folder / RUN, limits, show)
    console.print(f"{run.progress.tokens:,} of {recipe.tokens:,} tokens learnt; the run is in {folder / RUN}")


def _run(folder: Path, recipe: Recipe, device: str) -> Run:
    """The run in `folder`, resumed from its last checkpoint if there is one."""
    import torch

    if not (folder / stream.ENDS).exists():
        raise UsageError(f"{folder} holds no encoded corpus: run `collect` and `tokenize` there first, or `all`.")
    tokenizer = FileTokenizer(folder / TOKENIZER / "tokenizer.json")
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    sentinels = families.resolve("gpt_bigcode", tokenizer)
    start = bases.find(recipe.start_from).path if recipe.start_from else None
    run = Run(recipe, stream.Stream(folder, recipe.seed), tokenizer, sentinels, torch.device(name), start)
    if (folder / RUN / pretrain.PROGRESS).exists():
        run.resume(folder / RUN)
    return run


def _export(folder: Path, console: Console) -> None:
    output = folder / MODEL
    with staging.staged(output, overwrite=True) as new:
        pretrain.export(folder / RUN, new)
        vocabulary.load(folder / TOKENIZER).save_pretrained(new)
    bases.find(str(output))
    console.print(f"The base is in {output}; try it: serve-copilot --base {output}", soft_wrap=True)


@contextmanager
def _bar(console: Console, tokens: int) -> Generator[Callable[[pretrain.Progress], None]]:
    """Show a progress bar while the block runs; without a terminal, print one line per point of the loss curve."""
    texts = (TextColumn("{task.fields[loss]}"), TextColumn("{task.fields[speed]}"))
    columns = (TextColumn("training"), BarColumn(), *texts, TimeElapsedColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    task = progress.add_task("training", total=tokens, loss="", speed="")

    def show(run: pretrain.Progress) -> None:
        loss, speed = f"loss {run.curve[-1].loss:.3f}", f"{run.tokens / run.seconds:,.0f} tokens/s"
        progress.update(task, completed=run.tokens, loss=loss, speed=speed)
        if not console.is_terminal:
            console.print(f"{run.tokens:,} tokens, {run.seconds:,.0f} s: {loss}, {speed}", soft_wrap=True)

    with progress:
        yield show
