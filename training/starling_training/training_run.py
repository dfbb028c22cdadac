"""One run of `train-copilot`, from the files of a source to the folder that `serve-copilot` loads.

Read, prepare, plan, train, evaluate, write: the functions below are in that order. The model libraries come in where
weights are loaded: a dry run does without them.
"""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from starling_server.backends.torch.device import find_device, free_bytes, in_four_bits
from starling_server.errors import LeakError
from starling_training import canaries, processes, progress, settings, staging, train_console
from starling_training.config import OptimConfig, TrainConfig
from starling_training.fit import checkpoint, memory_plan
from starling_training.fit.checkpoint import BEST
from starling_training.fit.prepare import Prepared, prepare
from starling_training.fit.schedule import Curve, plan
from starling_training.interrupt import Interrupt
from starling_training.report import inventory, outputs
from starling_training.report.outputs import Given
from starling_training.scoring import judge, scores
from starling_training.scoring.trials import Trial
from starling_training.settings import Where
from starling_training.sources.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run."""

    path: Path
    curve: Curve
    trials: list[Trial]
    interrupted: bool
    """Whether Ctrl-C ended it early."""


class _Unfinished(KeyboardInterrupt):
    """Ctrl-C came before there was a result; checkpoints may exist."""


def run(config: TrainConfig, read: Corpus, where: Where, interrupt: Interrupt, console: Console) -> Result | None:
    """Train an adapter on `read`, evaluate it and write it to `config.output`; None after a dry run.

    Raises SourceError, BaseModelError, OutputError, UsageError, and KeyboardInterrupt if no result is kept.
    """
    prepared = prepare(config, _without_data_dumps(config, read, console))
    _index_others(prepared, console)
    given = _given(prepared, config, where)
    train_console.inputs(console, given.settings, given.inventory, config.verbose)
    device = find_device(config.model)
    interrupt.soften()  # library imports can swallow a KeyboardInterrupt: from here on Ctrl-C only sets a flag
    check_memory = _plan(prepared, device.type == "cuda", free_bytes(device), console)
    if config.dry_run:
        if interrupt.asked:
            raise KeyboardInterrupt
        return None
    processes.split(prepared.config.optim.accumulation)
    check_memory()
    with checkpoint.alone(config.output) if processes.is_first() else nullcontext():
        return _produce(prepared, given, interrupt, console)


def _without_data_dumps(config: TrainConfig, read: Corpus, console: Console) -> Corpus:
    """`read` without the files on which the base's loss is above `--max-file-loss`."""
    most = config.data.max_file_loss
    if not most:
        return read
    from starling_server.backends.torch import loading
    from starling_training.fit import attempt
    from starling_training.fit.base_loss import losses

    loaded = loading.load(config.model)
    with progress.counter(console, "looking for data dumps", len(read.documents)) as counter:
        found = losses(loaded, read.documents, counter)
    del loaded
    attempt.free_memory()
    return read.without({row for row, loss in enumerate(found) if loss > most}, f"loss above {most:g}")


def _index_others(prepared: Prepared, console: Console) -> None:
    """Index the files of training, from which pieces go into prompts."""
    if prepared.others is not None:
        with progress.counter(console, "indexing other files", len(prepared.split.train)) as counter:
            prepared.others.build(counter)


def _given(prepared: Prepared, asked: TrainConfig, where: Where) -> Given:
    """The run's inputs, for the manifest and the report."""
    config, corpus = prepared.config, prepared.corpus
    return Given(
        config,
        settings.resolved(asked, config, where),
        prepared.base,
        in_four_bits(config.model),
        prepared.writer.fim,
        corpus.root,
        inventory.take(corpus, prepared.split, prepared.writer.tokenizer),
    )


def _plan(prepared: Prepared, on_gpu: bool, free: int, console: Console) -> Callable[[], None]:
    """Print the run's size and memory; the returned check raises UsageError if the memory is too small."""
    config, base = prepared.config, prepared.base
    train_console.plan(console, plan(prepared.rows, prepared.split.train, prepared.writer, base, config.optim, on_gpu))
    four_bits = in_four_bits(config.model) or bool(base.quantization)
    plans = memory_plan.plans(base, config, on_gpu, four_bits)
    train_console.memory(console, plans, config.lora.method, free)
    return lambda: memory_plan.check(plans[config.lora.method], free)


def _produce(prepared: Prepared, given: Given, interrupt: Interrupt, console: Console) -> Result | None:
    """Train and write the result; None in every process but the first.

    A run that fails or is interrupted early keeps its checkpoints; a second Ctrl-C deletes them.
    """
    place = checkpoint.place(prepared.config.output)
    keep = True
    try:
        curve, optim = _train(prepared, place, interrupt, console)
        if not processes.is_first():
            return None
        if len(curve.points) < 2:
            raise _Unfinished
        given = replace(given, config=replace(prepared.config, optim=optim))
        result = _finish(prepared, given, place / BEST, curve, interrupt, console)
        keep = False
        return result
    except _Unfinished:
        if checkpoint.latest(place):
            console.print(f"Stopped before there was a result. Checkpoints are in {place}: continue with --resume.")
        raise
    except (KeyboardInterrupt, LeakError):
        keep = False
        raise
    finally:
        if processes.is_first():
            checkpoint.end(place, keep)


def _train(prepared: Prepared, place: Path, interrupt: Interrupt, console: Console) -> tuple[Curve, OptimConfig]:
    """Train in all processes, from the last checkpoint with `--resume`."""
    from starling_training.fit import attempt

    config = prepared.config
    feedback = attempt.Feedback(console.print, lambda steps: train_console.bar(console, steps), lambda: interrupt.asked)
    with staging.explained(config.output):
        after = processes.shared(
            lambda: checkpoint.begin(place, prepared.fingerprint(), config.resume, config.overwrite)
        )
        trained = attempt.train(prepared, place, after, feedback)
    processes.leave()
    attempt.free_memory()  # frees memory for the served model
    return trained


def _finish(
    prepared: Prepared, given: Given, best: Path, curve: Curve, interrupt: Interrupt, console: Console
) -> Result:
    """Evaluate the weights in `best` and write them, their manifest and the report to the output folder."""
    config = prepared.config
    with staging.staged(config.output, config.overwrite) as folder:
        shutil.copytree(best, folder, dirs_exist_ok=True)
        manifest = outputs.describe(given, curve)
        outputs.write_manifest(manifest, folder)
        trials = _judge(prepared, folder, interrupt, console)
        found = scores.scores(trials)
        results = outputs.results(found, len(trials)) | _probe(prepared, folder, interrupt, console)
        manifest = manifest.model_copy(update={"results": results})
        outputs.write_manifest(manifest, folder)
        outputs.write(folder, outputs.Found(manifest, given.inventory, found, trials, prepared.base))
    train_console.finished(console, config, found, trials)
    return Result(config.output, curve, trials, interrupt.asked)


def _judge(prepared: Prepared, folder: Path, interrupt: Interrupt, console: Console) -> list[Trial]:
    """Compare base and adapter on held-out holes; empty after Ctrl-C, since a part of the holes is a biased sample."""
    config = prepared.config
    chosen = prepared.holes("judge", config.holes)
    if interrupt.asked or not chosen:
        return []
    with progress.until(console, "evaluating", len(chosen), lambda: interrupt.asked) as go_on:
        judged = judge.judge_base if config.lora.method == "full" else judge.judge
        trials = judged(folder, config.model, chosen, prepared.writer, go_on, prepared.others)
    return [] if interrupt.asked else trials


def _probe(prepared: Prepared, folder: Path, interrupt: Interrupt, console: Console) -> dict[str, Any]:
    """Probe the model for redacted secrets; returns the record for the manifest.

    Raises LeakError for a reproduced secret with `--fail-on-leak`. Ctrl-C ends the probe; with `--fail-on-leak` the run
    then counts as unfinished.
    """
    config = prepared.config
    chosen = canaries.find(prepared.corpus, config.canaries, config.data.seed) if config.canaries else []
    if not chosen:
        return {}
    sizes = (prepared.writer.context_tokens, prepared.writer.max_tokens)
    with progress.until(console, "probing for secrets", len(chosen), lambda: interrupt.asked) as go_on:
        probed, leaked = canaries.probe(folder, config.model, config.lora.method == "full", sizes, chosen, go_on)
    train_console.leaks(console, probed, leaked)
    if config.fail_on_leak:
        _check_leaks(probed, len(leaked), len(chosen))
    return {"canaries": {"asked": probed, "given back": len(leaked)}}


def _check_leaks(probed: int, leaked: int, chosen: int) -> None:
    if leaked:
        raise LeakError(
            f"The model reproduced {leaked} of {probed} redacted secrets, so no result was kept: change those secrets, "
            "exclude their files with .starlingignore, and train again."
        )
    if probed < chosen:
        raise _Unfinished
