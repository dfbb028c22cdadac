"""`python -m starling_training.base`: builds a base from a list of packages, in stages that can be resumed."""

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
from starling_server.errors import OutputError, UsageError
from starling_server.models import bases
from starling_server.models.bases import TINY
from starling_server.models.families import table as families
from starling_server.models.tokenizer import FileTokenizer
from starling_training import staging
from starling_training.base import base_card, collect, measure, pretrain, stream, vocabulary
from starling_training.base.pretrain import Limits, Run
from starling_training.base.recipe import Recipe
from starling_training.interrupt import Interrupt

TOKENIZER, RUN, MODEL, FIGURES = "tokenizer", "run", "model", "figures.json"
SAVE_SECONDS = 600
SETTINGS = {
    "layers": "Number of transformer layers.",
    "width": "Hidden size; a multiple of --heads.",
    "heads": "Number of attention heads.",
    "vocabulary": "Vocabulary size in tokens.",
    "tokens": "Total number of training tokens.",
    "step_tokens": "Tokens per optimiser step.",
    "forward_tokens": "Maximum tokens per forward pass.",
    "muon_rate": "Peak learning rate of Muon, for the weight matrices.",
    "adam_rate": "Peak learning rate of Adam, for all other weights.",
    "start_from": "Base to continue from, with its vocabulary: tiny or a folder. Default: random weights.",
    "seed": "Random seed of the document order.",
}
"""Fields of the recipe that are flags, with their help."""
DEFAULTS = Recipe()

FOLDER = click.option(
    "--folder", type=click.Path(path_type=Path), required=True, help="Working folder for all stages, about 600 MB."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def base() -> None:
    """Build a base model from Python packages, as the bundled base was built.

    The stages are collect, tokenize, train and export; `all` runs them in this order, and `measure` evaluates the
    result. Completed stages are skipped, and an interrupted training run is resumed: repeat the same command.
    """


@base.command("collect")
@FOLDER
@click.option("--only", multiple=True, help="Use only this package of the list. May be repeated.")
def collect_command(folder: Path, only: tuple[str, ...]) -> None:
    """Download the listed packages, and store their filtered and deduplicated Python source."""
    _collect(folder, only, Console())


@base.command("tokenize")
@FOLDER
@click.option("--vocabulary", default=DEFAULTS.vocabulary, show_default=True, help=SETTINGS["vocabulary"])
@click.option("--start-from", default=DEFAULTS.start_from, help="Use this base's vocabulary; train none.")
def tokenize_command(folder: Path, vocabulary: int, start_from: str) -> None:
    """Train the tokenizer and encode the corpus."""
    _tokenize(folder, vocabulary, start_from, Console())


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add one flag for each entry of `SETTINGS`."""
    for name, text in reversed(SETTINGS.items()):
        default, flag = getattr(DEFAULTS, name), f"--{name.replace('_', '-')}"
        shown = bool(default)
        command = click.option(flag, type=_type(default), default=default, show_default=shown, help=text)(command)
    return command


def _type(default: object) -> click.ParamType[Any] | None:
    """The range of a number: counts start at 1, and rates and the seed at 0."""
    if isinstance(default, float):
        return click.FloatRange(0, 1)
    return click.IntRange(min(default, 1)) if isinstance(default, int) else None


TIME = click.option(
    "--minutes",
    type=click.FloatRange(0),
    default=0.0,
    help="Stop after this many minutes; repeat the command to resume. 0: no limit.",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Compute device. auto: cuda if available.",
)


@base.command("train")
@FOLDER
@TIME
@DEVICE
@_settings
def train_command(folder: Path, minutes: float, device: str, **settings: Any) -> None:
    """Pre-train the model, or resume an interrupted run. Ctrl-C saves a checkpoint and stops."""
    _train(folder, Recipe(**settings), minutes, device, Console())


@base.command("export")
@FOLDER
def export_command(folder: Path) -> None:
    """Write the trained model as a folder for --base."""
    _export(folder, Console())


@base.command("measure")
@FOLDER
@click.option("--model", default="", help="Base to evaluate. Default: the exported one.")
@click.option("--against", default=TINY, show_default=True, help="Base to compare with.")
@click.option(
    "--holes",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Holes at line ends; a fifth as many others.",
)
@click.option(
    "--quantize",
    type=click.Choice(QUANTIZE),
    default="nf4",
    show_default=True,
    help="Weight format of both bases. auto: the fastest on this machine.",
)
def measure_command(folder: Path, model: str, against: str, holes: int, quantize: Quantize) -> None:
    """Compare two bases on held-out packages; writes figures.json and the model card."""
    _check_stage(folder, collect.HELD_OUT, "held-out packages", "collect")
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
@click.option("--only", multiple=True, help="Use only this package of the list. May be repeated.")
@_settings
def all_command(folder: Path, minutes: float, device: str, only: tuple[str, ...], **settings: Any) -> None:
    """Run collect, tokenize, train and export. Repeat the command to resume."""
    console = Console()
    if not (folder / collect.RECORD).exists():
        _collect(folder, only, console)
    if not (folder / stream.ENDS).exists():
        _tokenize(folder, settings["vocabulary"], settings["start_from"], console)
    _train(folder, Recipe(**settings), minutes, device, console)
    _export(folder, console)


def _check_stage(folder: Path, file: str, content: str, stage: str) -> None:
    """Raise UsageError unless an earlier stage has written `file`."""
    if not (folder / file).exists():
        raise UsageError(f"{folder} has no {content} ({file}): run `{stage}` with this --folder first, or `all`.")


def _collect(folder: Path, only: tuple[str, ...], console: Console) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot create {folder} ({error.strerror}): name another --folder.") from error
    console.print("Downloading and reading packages: some minutes.")
    entries = collect.collect(folder, only)
    chars, files = sum(entry.characters for entry in entries), sum(entry.files for entry in entries)
    console.print(f"{files:,} files with {chars:,} characters from {len(entries)} sources are in {folder}")


def _tokenize(folder: Path, size: int, start_from: str, console: Console) -> None:
    _check_stage(folder, collect.CORPUS, "corpus", "collect")
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

    _check_stage(folder, stream.ENDS, "encoded corpus", "tokenize")
    if recipe.width % recipe.heads:
        raise UsageError(f"--width is {recipe.width} and --heads {recipe.heads}: use a multiple of --heads.")
    tokenizer = FileTokenizer(folder / TOKENIZER / "tokenizer.json")
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    sentinels = families.resolve("gpt_bigcode", tokenizer)
    start = bases.find(recipe.start_from).path if recipe.start_from else None
    run = Run(recipe, stream.Stream(folder, recipe.seed), tokenizer, sentinels, torch.device(name), start)
    if (folder / RUN / pretrain.PROGRESS).exists():
        run.resume(folder / RUN)
    return run


def _export(folder: Path, console: Console) -> None:
    _check_stage(folder, f"{RUN}/{pretrain.PROGRESS}", "trained model", "train")
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
