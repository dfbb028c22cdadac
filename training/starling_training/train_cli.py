"""`train-copilot`: a repository in, an adapter out."""

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from rich.console import Console

from starling_server import __version__
from starling_server.config import ModelConfig
from starling_server.errors import UsageError
from starling_server.flags import MODEL_FLAGS, flags
from starling_server.models import adapters
from starling_training import presets, processes, progress, staging
from starling_training.config import DataConfig, LoraConfig, OptimConfig, TrainConfig
from starling_training.interrupt import Interrupt
from starling_training.publish import push
from starling_training.sources import corpus, origins

Group = TypeVar("Group", DataConfig, LoraConfig, OptimConfig)
ORIGINS = {ParameterSource.COMMANDLINE: "flag", ParameterSource.DEFAULT: "default"}

OUTPUT_FLAGS = (
    click.option("--name", help="The adapter's name. Default: the source folder's."),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        help="The folder that is made. Default: where serve-copilot and starling-lsp look for adapters by name; "
        "of a whole model `bases` beside that.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace what is there, once the new one is whole."),
    click.option("--resume", is_flag=True, help="Go on with a run that was killed, from its last checkpoint."),
    click.option("--verbose", is_flag=True, help="Name every file that is left out; corpus.json does so too."),
    click.option("--dry-run", is_flag=True, help="Read and plan, print it, and stop."),
    click.option(
        "--holes",
        default=TrainConfig.__dataclass_fields__["holes"].default,
        show_default=True,
        help="Held-out holes to judge base and adapter on; 0 judges nothing.",
    ),
    click.option(
        "--canaries",
        default=TrainConfig.__dataclass_fields__["canaries"].default,
        show_default=True,
        help="Secrets of the source, all taken out before training, to ask the trained model for; 0 asks for none.",
    ),
    click.option("--fail-on-leak", is_flag=True, help="Keep nothing if it gives one back."),
)
LIMIT_FLAGS = (
    click.option("--epochs", default=3, show_default=True, help="Times that the source is gone through."),
    click.option("--max-steps", default=0, help="Most optimiser steps; 0 sets no limit."),
    click.option(
        "--max-minutes",
        default=0.0,
        help="Most minutes of training; the learning rate comes down by then. Loading and judging come on top. "
        "0 sets no limit.",
    ),
    click.option("--evaluations", default=5, show_default=True, help="Looks at the held-out loss during training."),
    click.option("--patience", default=3, show_default=True, help="Looks without a better loss that end training."),
)
DATA_FLAGS = (
    click.option("--weights", default="", help="How much more often each SOURCE is learnt from, as in 2,1."),
    click.option("--context-tokens", default=0, help="Window in training and serving; 0: the base's, 2048 at most."),
    click.option("--max-tokens", default=64, show_default=True, help="Longest suggestion, as in serving."),
    click.option("--fim-rate", default=0.8, show_default=True, help="Share of examples with a hole."),
    click.option("--spm-rate", default=0.8, show_default=True, help="Share of holes in serving's order."),
    click.option(
        "--loss",
        type=click.Choice(["middle", "all"]),
        default="middle",
        show_default=True,
        help="Tokens learnt from where an example has a hole.",
    ),
    click.option(
        "--max-files",
        default=0,
        help="Most files of each SOURCE, the first; a dataset on the Hub is read no further. 0 sets no limit.",
    ),
    click.option(
        "--max-file-loss",
        default=0.0,
        help="Leave out files that the base predicts worse than this, in nats per token, such as data dumps; 3 suits "
        "released bases. 0 keeps all.",
    ),
    click.option("--held-out", default=0.1, show_default=True, help="Share of the text kept for judging."),
    click.option("--seed", default=0, show_default=True, help="Of held-out files, holes and first weights."),
)
OPTIM_FLAGS = (
    click.option(
        "--method",
        type=click.Choice(["qlora", "lora", "full"]),
        default="qlora",
        show_default=True,
        help="An adapter over the base in 4 bits, or over its 16-bit weights; or every weight of the base.",
    ),
    click.option("--rank", default=16, show_default=True, help="LoRA's r: the adapter's size."),
    click.option("--alpha", default=32, show_default=True, help="LoRA's alpha: its weight is alpha / r."),
    click.option("--dropout", default=0.05, show_default=True, help="Dropout on the adapter's input."),
    click.option("--targets", default="all-linear", show_default=True, help="Layers, as in c_attn,c_proj."),
    click.option("--learning-rate", default=0.0, help="Peak rate; 0: by the base's width."),
    click.option("--batch", default=1, show_default=True, help="Examples in one forward."),
    click.option("--accumulation", default=4, show_default=True, help="Forwards in one step."),
    click.option("--packing", is_flag=True, help="Examples of a forward in one row instead of padded rows."),
    click.option("--warmup", default=0.03, show_default=True, help="Share of the run with a rising rate, or steps."),
    click.option("--weight-decay", default=0.01, show_default=True, help="AdamW's."),
    click.option("--clip", default=1.0, show_default=True, help="Largest norm of a step's gradient."),
)


@click.command(
    context_settings={"auto_envvar_prefix": "STARLING", "help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@presets.OPTION
@flags(OUTPUT_FLAGS, push.FLAGS, MODEL_FLAGS, LIMIT_FLAGS, DATA_FLAGS, OPTIM_FLAGS)
@click.version_option(__version__)
@click.pass_context
def train_copilot(ctx: click.Context, sources: tuple[str, ...], **values: Any) -> None:
    """Train a copilot on SOURCE: a directory (of a git checkout the tracked files, of a plain folder those that its
    .gitignore files let through), a git URL, a dataset hf:OWNER/NAME[@REVISION][:SPLIT], or a .jsonl or .parquet file
    with a row per source file. Several may be named. A .starlingignore keeps files out.

    Secrets are replaced before anything is learnt or kept. Some files are held out. Base and adapter are both asked to
    fill holes in them, through the engine that serves, and the table at the end says whether training helped. The
    adapter's folder holds its weights, manifest.json, report.html and a model card. Nothing leaves this machine unless
    --push-to-hub is given, and then it asks.

    Ctrl-C ends training after the running step and keeps the best adapter so far; a second one leaves nothing.

    \b
    Try it:
      train-copilot ~/src/project --dry-run          what would be read, and how long it would take
      train-copilot ~/src/project --preset quick     a first adapter on any machine
      train-copilot ~/src/api ~/src/web --weights 2,1 --name team
      serve-copilot --base tiny --adapter project
      train-copilot export project --help            a merged model, or files for llama.cpp

    A folder named export is named ./export here: the word alone, in the first place, is the other command.

    Every flag can also be set in the environment: STARLING_BASE, STARLING_EPOCHS and so on.
    """
    target = push.wanted(values)
    config = _config(sources, values)
    staging.check(config.output, config.overwrite)
    processes.join(config.model.device)
    console = Console(quiet=not processes.is_first())
    with Interrupt() as interrupt:
        with processes.first_then_others(), progress.reading(console) as done:
            read = corpus.read(config.sources, config.weights, done, config.data.max_files)
        from starling_training.training_run import run

        result = run(config, read, _origins(ctx), interrupt, console)
    if target and result and not result.interrupted:
        push.push(result.path, target)


def _config(sources: tuple[str, ...], values: dict[str, Any]) -> TrainConfig:
    output: Path | None = values["output"]
    output = output.absolute() if output else None
    name = values["name"] or (output.name if output else adapters.name_for(Path(origins.short_name(sources[0]))))
    home = adapters.home().with_name("bases") if values["method"] == "full" else adapters.home()
    output = output or home / adapters.check_name(name)
    adapters.check_name(output.name)
    return TrainConfig(
        sources=sources,
        weights=_weights(values["weights"], len(sources)),
        name=name,
        output=output,
        overwrite=values["overwrite"],
        resume=values["resume"],
        dry_run=values["dry_run"],
        verbose=values["verbose"],
        holes=values["holes"],
        canaries=values["canaries"],
        fail_on_leak=values["fail_on_leak"],
        model=ModelConfig(values["base"], values["quantize"], processes.only_gpu(values["device"])),
        data=_group(DataConfig, values),
        lora=_group(LoraConfig, values),
        optim=_group(OptimConfig, values),
    )


def _weights(given: str, count: int) -> tuple[float, ...]:
    try:
        weights = tuple(float(word) for word in given.split(",") if word.strip())
    except ValueError as error:
        raise UsageError(f"--weights takes numbers such as 2,1, not {given}.") from error
    if weights and (len(weights) != count or min(weights) <= 0):
        raise UsageError(f"--weights takes one positive number for each source: {count}, not {given}.")
    return weights


def _group(group: type[Group], values: dict[str, Any]) -> Group:
    return group(**{item.name: values[item.name] for item in fields(group)})


def _origins(ctx: click.Context) -> dict[str, str]:
    """Where each setting came from: a flag, an environment variable by name, or the default."""
    origins = dict[str, str]()
    for name in ctx.params:
        source = ctx.get_parameter_source(name)
        if source is ParameterSource.DEFAULT_MAP:
            origins[name] = f"preset {ctx.params['preset']}"
            continue
        variable = f"environment, {ctx.auto_envvar_prefix}_{name.upper()}"
        origins[name] = variable if source is ParameterSource.ENVIRONMENT else ORIGINS.get(source, "default")  # pyright: ignore[reportArgumentType, reportCallIssue]
    return origins
