"""`eval-copilot`: is the adapter better than its base on this code, by how much, how sure, and at what latency?"""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from starling_server import __version__
from starling_server.config import ModelConfig
from starling_server.errors import UsageError
from starling_server.flags import DTYPE_FLAGS, MODEL_FLAGS, RUNNER_FLAGS, flags, made
from starling_server.options import SERVICE, taken_by

PATH = click.Path(path_type=Path)
SETTINGS = {
    "auto_envvar_prefix": "STARLING", "help_option_names": ["-h", "--help"], "max_content_width": 100,
}  # fmt: skip
WHO = (
    click.option("--adapter", metavar="NAME_OR_DIR", help="Adapter to evaluate. Default: evaluate the base alone."),
    click.option("--against", metavar="NAME_OR_DIR", help="Compare with this adapter instead of the base."),
    click.option(
        "--engine",
        default="in-process",
        show_default=True,
        help="Inference engine: in-process; http://HOST:PORT of a running serve-copilot; or another server, "
        "openai:http://HOST:PORT/v1 or infill:http://HOST:PORT (llama.cpp), with --adapter and --against as models.",
    ),
    click.option(
        "--fim-prompt",
        default="",
        help="Raw prompt for an OpenAI server without suffix support, as in "
        "'<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>'.",
    ),
    click.option(
        "--context-tokens",
        default=2048,
        show_default=True,
        help="Context window in tokens, unless the adapter's manifest sets it.",
    ),
    click.option(
        "--max-tokens",
        default=64,
        show_default=True,
        help="Maximum tokens per suggestion, unless the adapter's manifest sets it.",
    ),
)
KEPT = (
    click.option(
        "--json", "json_path", type=PATH, metavar="FILE", help="Write every answer to this file, for `compare`."
    ),
    click.option("--report", type=PATH, metavar="FILE", help="Write an HTML report with plots and examples."),
)
SEED = click.option("--seed", default=0, show_default=True, help="Random seed for the selection of holes or tasks.")


@click.command(context_settings=SETTINGS)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@flags(WHO, MODEL_FLAGS, DTYPE_FLAGS, RUNNER_FLAGS)
@click.option(
    "--context",
    type=click.Choice(["on", "off", "definitions", "bm25"]),
    help="Pieces of other files in prompts, the same for both sides: all, none, or of one kind. A piece that holds a "
    "line of the hole is left out. Default: on where a side has learnt to read them. A server reads as many as its "
    "own --repository-tokens permits.",
)
@flags(made(SERVICE, "eval-copilot"))
@click.option("--holes", default=200, show_default=True, help="Number of holes.")
@SEED
@click.option("--holes-file", type=PATH, metavar="FILE", help="Use the holes of another run's --save-holes.")
@click.option(
    "--save-holes", type=PATH, metavar="FILE", help="Write the positions of the holes to this file, without code."
)
@flags(KEPT)
@click.version_option(__version__)
def holes(sources: tuple[str, ...], **values: Any) -> None:
    """Compare base and adapter on holes in held-out code, with the engine used for serving.

    SOURCE is anything that train-copilot accepts. If the adapter was trained on the source, the holes are in its
    held-out files; otherwise they are in all files.

    \b
    Try it:
      eval-copilot ~/src/project --adapter project             a table of base against adapter
      eval-copilot ~/src/project --adapter project --report proof.html --json new.json
      eval-copilot ~/src/project --engine infill:http://localhost:8012 --json peer.json
      eval-copilot compare peer.json new.json                  two runs at the same holes
      eval-copilot history ~/src/project --adapter project     the newest commits, hunk by hunk
      eval-copilot history ~/src/project --adapter project --keystrokes
      eval-copilot benchmark safim block.jsonl --execute       a public benchmark's file
      eval-copilot tests ~/src/project --command 'pytest -q'   the project's own tests

    For a folder named like a command, write ./history. Ctrl-C ends the run and reports the results so far.
    """
    if values["holes"] < 1:
        raise UsageError(f"--holes is {values['holes']}: use 1 or more.")
    asked, console = _asked(values), Console()
    from starling_training import progress
    from starling_training.evaluation import evaluation_run
    from starling_training.sources import corpus

    with progress.reading(console) as done:
        read = corpus.read(sources, done=done)
    drawing = evaluation_run.Drawing(values["holes"], values["seed"], values["holes_file"], values["save_holes"])
    evaluation_run.of_source(asked, read, drawing, _kept(values, evaluation_run.Kept), console)


@click.command(context_settings=SETTINGS)
@click.argument("repository", type=click.Path(path_type=Path, exists=True, file_okay=False))
@flags(WHO, MODEL_FLAGS, DTYPE_FLAGS, RUNNER_FLAGS)
@click.option("--commits", default=50, show_default=True, help="Number of newest commits, without merges.")
@click.option("--hunks", default=200, show_default=True, help="Maximum number of hunks, spread over the commits.")
@click.option("--keystrokes", is_flag=True, help="Type each hunk, and accept correct suggestions.")
@click.option("--characters", default=300, show_default=True, help="Maximum characters typed per hunk.")
@flags(KEPT)
def history(repository: Path, **values: Any) -> None:
    """Replay the newest commits of a git REPOSITORY: request a suggestion at each hunk, in the file before the change.

    Commits that the adapter was trained on are not evidence: train on an older state, or use newer commits.
    """
    asked, console = _asked(values), Console()
    from starling_training.evaluation import evaluation_run, replay

    wanted = replay.Wanted(values["commits"], values["hunks"], values["characters"])
    make = replay.typed if values["keystrokes"] else replay.asked_at
    evaluation_run.finish(make(asked, repository, wanted, console), _kept(values, evaluation_run.Kept), console)


@click.command(context_settings=SETTINGS)
@click.argument(
    "benchmark", type=click.Choice(["humaneval-infilling", "safim", "crosscodeeval", "repobench", "santacoder"])
)
@click.argument("source", metavar="FILE_OR_HF")
@flags(WHO, MODEL_FLAGS, DTYPE_FLAGS, RUNNER_FLAGS)
@click.option("--tasks", default=0, help="Maximum number of tasks, selected by the seed. 0: all.")
@SEED
@click.option("--execute", is_flag=True, help="Run the tasks' tests. This executes model-written code on this machine.")
@click.option("--samples", default=1, show_default=True, help="Number of sampled answers per task, for pass@k.")
@click.option("--temperature", default=0.0, show_default=True, help="Sampling temperature, with --samples over 1.")
@click.option("--seconds", default=10.0, show_default=True, help="Time limit for one task's tests, in seconds.")
@flags(KEPT)
def benchmark(benchmark: Any, source: str, **values: Any) -> None:
    """Run the tasks of a public benchmark from a file (.jsonl, .jsonl.gz or .parquet) or from the Hub,
    hf:OWNER/NAME[/CONFIG][@REVISION][:SPLIT].

    \b
    humaneval-infilling  single-line, multi-line and random spans (Bavarian et al. 2022), executed with --execute
    safim                block, control flow and API calls (Gong et al. 2024); Python is executed with --execute
    crosscodeeval        lines that need other files (Ding et al. 2023)
    repobench            the next line in a repository (Liu et al. 2023)
    santacoder           the SantaCoder FIM task's lines (Allal et al. 2023)

    Answers are cut at stops and trimmed, as in serving. Most published figures are for raw model output.
    """
    asked, console = _asked(values), Console()
    if values["samples"] > 1 and not values["temperature"]:
        raise UsageError("--samples is above 1 and --temperature 0, where all answers are equal: set a --temperature.")
    from starling_training.evaluation import evaluation_run, public_tasks

    wanted = public_tasks.Wanted(
        values["tasks"], values["seed"], values["execute"], values["samples"], values["temperature"], values["seconds"]
    )
    made = public_tasks.asked_at(asked, benchmark, source, wanted, console)
    evaluation_run.finish(made, _kept(values, evaluation_run.Kept), console)


@click.command(context_settings=SETTINGS)
@click.argument("repository", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--command", required=True, help="Test command, run in the root of the copy. Exit status 0: the tests pass."
)
@flags(WHO, MODEL_FLAGS, DTYPE_FLAGS, RUNNER_FLAGS)
@click.option("--holes", default=20, show_default=True, help="Number of holes; the tests run once or twice for each.")
@click.option("--files", default="**/*.py", show_default=True, help="Glob of the files with holes; tests are excluded.")
@SEED
@click.option("--seconds", default=120.0, show_default=True, help="Time limit for one run of the tests, in seconds.")
@flags(KEPT)
def tests(repository: Path, command: str, **values: Any) -> None:
    """Fill holes in a REPOSITORY and run its own tests: in a copy, with limits on time, memory and the network.

    A hole counts only if the tests fail while it is empty. This executes model-written code on this machine.
    """
    asked, console = _asked(values), Console()
    from starling_training.evaluation import evaluation_run, own_tests

    wanted = own_tests.Wanted(command, values["holes"], values["files"], values["seed"], values["seconds"])
    evaluation_run.finish(
        own_tests.asked_at(asked, repository, wanted, console), _kept(values, evaluation_run.Kept), console
    )


@click.command(context_settings=SETTINGS)
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@flags(KEPT)
def compare(first: Path, second: Path, **values: Any) -> None:
    """Compare two --json files at their common positions: the adapter of each run, or its only side."""
    from starling_training.evaluation import evaluation_run
    from starling_training.scoring import result_file

    evaluation_run.finish(
        result_file.joined(result_file.read(first), result_file.read(second)),
        _kept(values, evaluation_run.Kept),
        Console(),
    )


def _asked(values: dict[str, Any]) -> Any:
    from starling_training.evaluation.sides import Asked

    chosen = {name: values[name] for name in values if name != "engine"}  # an evaluation's engine has other forms
    model = ModelConfig(**taken_by(ModelConfig, chosen))
    return Asked(
        values["engine"], model, values["adapter"], values["against"], values["context_tokens"], values["max_tokens"],
        values["fim_prompt"], values.get("context"), values.get("repository_tokens"),
    )  # fmt: skip


def _kept(values: dict[str, Any], make: Any) -> Any:
    return make(values["json_path"], values["report"])
