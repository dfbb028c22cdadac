"""`train-copilot`: a repository in, an adapter out."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from click.core import ParameterSource
from rich.console import Console

from starling_server import __version__
from starling_server.config import ModelConfig
from starling_server.errors import UsageError
from starling_server.flags import MODEL_FLAGS, flags, made
from starling_server.models import adapters
from starling_server.options import SERVICE
from starling_training import presets, processes, progress, staging
from starling_training.config import DataConfig, LoraConfig, Loss, Method, OptimConfig, OrderChoice, TrainConfig
from starling_training.interrupt import Interrupt
from starling_training.publish import push
from starling_training.sources import corpus, origins

FC = TypeVar("FC", bound=Callable[..., Any] | click.Command)
Group = TypeVar("Group", DataConfig, LoraConfig, OptimConfig)
ORIGINS = {ParameterSource.COMMANDLINE: "flag", ParameterSource.DEFAULT: "default"}


def option(group: type[Any], name: str, text: str, choices: Sequence[str] = ()) -> Callable[[FC], FC]:
    """The flag of a configuration's field, with its default, which --help shows unless the text says what 0 means."""
    default = group.__dataclass_fields__[name].default
    kind: dict[str, Any] = {"type": click.Choice(choices) if choices else None, "is_flag": default is False}
    shown = default is not False and "0: " not in text
    return click.option(f"--{name.replace('_', '-')}", default=default, show_default=shown, help=text, **kind)


OUTPUT_FLAGS = (
    click.option("--name", help="Name of the adapter. Default: the name of the source folder."),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        help="Output directory. Default: the directory in which serve-copilot and starling-lsp look up adapters; for "
        "--method full, its sibling `bases`.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing output, once the new one is complete."),
    click.option("--resume", is_flag=True, help="Resume an interrupted run from its last checkpoint."),
    click.option("--verbose", is_flag=True, help="List every excluded file; corpus.json always does."),
    click.option("--dry-run", is_flag=True, help="Read the source, print the plan, and exit."),
    option(TrainConfig, "holes", "Number of held-out holes for the evaluation; 0 skips it."),
    option(
        TrainConfig, "canaries", "Number of redacted secrets to probe the trained model for; 0 disables the leak check."
    ),
    click.option("--fail-on-leak", is_flag=True, help="Discard the model if it reproduces a redacted secret."),
)
LIMIT_FLAGS = (
    option(OptimConfig, "epochs", "Number of passes over the source."),
    option(OptimConfig, "max_steps", "Maximum number of optimiser steps. 0: no limit."),
    option(
        OptimConfig,
        "max_minutes",
        "Maximum minutes of training, without loading and evaluation. The learning rate decays within this time. 0: "
        "no limit.",
    ),
    option(OptimConfig, "evaluations", "Number of evaluations of the held-out loss during training."),
    option(OptimConfig, "patience", "Stop after this many evaluations without improvement."),
)
DATA_FLAGS = (
    click.option("--weights", default="", help="Sampling weight of each SOURCE, as in 2,1. Default: equal."),
    option(DataConfig, "context_tokens", "Context window in tokens. 0: the base's, at most 2048."),
    option(DataConfig, "max_tokens", "Maximum tokens per suggestion, as in serving."),
    option(DataConfig, "fim_rate", "Share of examples with a hole, from 0 to 1."),
    option(
        DataConfig,
        "order",
        "Order of the adapter's prompts. spm: suffix first, so that a key adds one token to the prompt. psm: prefix "
        "first. auto: spm, also on a base that was trained with psm alone, which the adapter then teaches.",
        choices=get_args(OrderChoice),
    ),
    option(
        DataConfig,
        "spm_rate",
        "Share of holes in the order of serving (SPM unless --order psm), from 0 to 1; the others are in the other "
        "order, if the base was trained with it.",
    ),
    option(
        DataConfig,
        "loss",
        "What an example with a hole teaches. weighted: every token, the middle with a fifth of the weight. middle: "
        "the middle only. all: every token alike, as in the published runs.",
        choices=get_args(Loss),
    ),
    *made(SERVICE, "train-copilot"),
    option(
        DataConfig,
        "max_files",
        "Maximum number of files per SOURCE, in their order; a Hub dataset is read only that far. 0: no limit.",
    ),
    option(
        DataConfig,
        "max_file_loss",
        "Exclude files with a higher loss of the base than this, in nats per token, such as data dumps; 3 suits "
        "released bases. 0: keep all.",
    ),
    option(DataConfig, "held_out", "Share of the text held out for evaluation, from 0.01 to 0.5."),
    option(DataConfig, "seed", "Random seed for the split, the holes and the adapter's initialisation."),
)
OPTIM_FLAGS = (
    option(
        LoraConfig,
        "method",
        "qlora: an adapter on the 4-bit base. lora: an adapter on the 16-bit base. full: all weights of the base.",
        choices=get_args(Method),
    ),
    option(LoraConfig, "rank", "LoRA rank r."),
    option(LoraConfig, "alpha", "LoRA alpha; the adapter is scaled by alpha / r."),
    option(LoraConfig, "dropout", "Dropout probability on the adapter's input."),
    option(LoraConfig, "targets", "Target layers, as in c_attn,c_proj."),
    option(OptimConfig, "learning_rate", "Peak learning rate. 0: chosen by the base's width."),
    option(OptimConfig, "batch", "Examples per forward pass."),
    option(OptimConfig, "accumulation", "Forward passes per optimiser step."),
    option(OptimConfig, "packing", "Pack the examples of a forward pass into one row, without padding."),
    option(OptimConfig, "warmup", "Warm-up: share of the run below 1, otherwise steps."),
    option(OptimConfig, "weight_decay", "Weight decay of AdamW."),
    option(OptimConfig, "clip", "Maximum gradient norm."),
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
    """Train a copilot on SOURCE: a directory (the tracked files of a git checkout, or the files of a plain folder that
    its .gitignore files do not exclude), a git URL, a dataset hf:OWNER/NAME[@REVISION][:SPLIT], or a .jsonl or .parquet
    file with one row per source file. SOURCE may be repeated. Files listed in .starlingignore are excluded.

    Secrets are redacted before training and before anything is stored. Some files are held out. Base and adapter both
    fill holes in these files, with the engine used for serving, and a table at the end shows whether training helped.
    The output directory holds the adapter's weights, manifest.json, report.html and a model card. Nothing is uploaded
    unless you pass --push-to-hub, which asks for confirmation.

    Ctrl-C ends training after the current step and keeps the best adapter so far; a second Ctrl-C keeps nothing.

    \b
    Try it:
      train-copilot ~/src/project --dry-run          the files it would read, and the estimated time
      train-copilot ~/src/project --preset quick     a first adapter on any machine
      train-copilot ~/src/api ~/src/web --weights 2,1 --name team
      serve-copilot --base tiny --adapter project
      train-copilot export project --help            a merged model, or files for llama.cpp
      train-copilot bases                            bases: what fits this machine, what is on its disk

    For a folder named export or bases, write ./export or ./bases: both are commands.

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
