"""One run of `train-copilot`, from the source to the folder that serving loads."""

import gc
import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded, TextTokenizer
from starling_server.errors import BaseModelError, LeakError, SourceError, UsageError
from starling_server.models import adapters, bases, families
from starling_server.models.adapters import BARE
from starling_server.models.bases import Base
from starling_training import canaries, processes, progress, settings, staging, train_console
from starling_training.config import OptimConfig, TrainConfig, resolve
from starling_training.examples.dataset import Row, Writer, epoch_rows, held_out_holes
from starling_training.examples.spans import Hole
from starling_training.fit import checkpoint, full_weights, memory_plan, oom, qlora, surprise, trainer
from starling_training.fit.checkpoint import BEST
from starling_training.fit.plan import plan
from starling_training.fit.rows import middle_set, training_set
from starling_training.fit.schedule import Curve
from starling_training.interrupt import Interrupt
from starling_training.report import inventory, manifest_record, written
from starling_training.report.manifest_record import Given
from starling_training.scoring import engines, judge, scores
from starling_training.scoring.trials import Trial
from starling_training.settings import Where
from starling_training.sources.clean import Document
from starling_training.sources.corpus import Corpus
from starling_training.sources.split import Split, apart, split

if TYPE_CHECKING:  # bitsandbytes, which comes with them, prints notices unless `loading` was imported before
    from peft import PeftModel
    from transformers import PreTrainedModel

WATCHED = 40
"""Holes of the evaluations during training; others than those that are judged on afterwards."""
LOSSLESS_FILES, LOSSLESS_CHARS = 20, 4_000
"""Of each source's first files so much is encoded and decoded again."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is known before a weight is loaded."""

    config: TrainConfig
    base: Base
    corpus: Corpus
    split: Split
    writer: Writer
    rows: list[Row]
    """All epochs', in order."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    path: Path
    curve: Curve
    trials: list[Trial]
    interrupted: bool
    """Whether it was told to end before it was done."""


class _Unfinished(KeyboardInterrupt):
    """Ctrl-C came before there was anything to keep but checkpoints."""


def run(config: TrainConfig, read: Corpus, where: Where, interrupt: Interrupt, console: Console) -> Result | None:
    """Train an adapter on what was `read`, judge it, and put it at `config.output`; None after a dry run.

    Raises SourceError, BaseModelError, OutputError, UsageError, and KeyboardInterrupt where nothing is kept.
    """
    prepared = prepare(config, _readable(config, read, console))
    given = _given(prepared, config, where)
    train_console.configuration(console, given.settings)
    train_console.corpus(console, given.inventory)
    if config.verbose:
        train_console.left_out(console, given.inventory)
    device = loading.find_device(config.model)
    on_gpu = device.type == "cuda"
    optim = prepared.config.optim
    interrupt.soften()  # a KeyboardInterrupt inside a library's import was lost now and then: from here on it is noted
    train_console.plan(
        console, plan(prepared.rows, prepared.split.train, prepared.writer, prepared.base, optim, on_gpu)
    )
    four_bits = loading.in_four_bits(prepared.config.model) or bool(prepared.base.quantization)
    plans, free = memory_plan.plans(prepared.base, prepared.config, on_gpu, four_bits), loading.free_bytes(device)
    train_console.memory(console, plans, prepared.config.lora.method, free)
    if config.dry_run:
        if interrupt.asked:
            raise KeyboardInterrupt
        return None
    processes.split(optim.accumulation)
    memory_plan.check(plans[prepared.config.lora.method], free)
    with checkpoint.alone(config.output) if processes.is_first() else nullcontext():
        return _produce(prepared, given, interrupt, console)


def _readable(config: TrainConfig, read: Corpus, console: Console) -> Corpus:
    """`read` without files that the base loses more on than it may."""
    most = config.data.max_file_loss
    if not most:
        return read
    loaded = loading.load(config.model)
    with progress.counter(console, "looking for data dumps", len(read.documents)) as counter:
        lost = surprise.losses(loaded, read.documents, counter)
    del loaded
    _free()
    return read.without({row for row, loss in enumerate(lost) if loss > most}, f"loss above {most:g}")


def prepare(config: TrainConfig, read: Corpus) -> Prepared:
    """Find the base and choose what to learn from; of the base only the tokenizer is loaded."""
    base = loading.find_base(config.model)
    tokenizer = loading.load_tokenizer(base)
    sentinels = families.resolve(base.model_type, tokenizer)
    config = resolve(config, base)
    parts = apart(split(read.documents, config.data.held_out, config.data.seed), read)
    if not parts.train:
        raise SourceError(
            f"Every file of {read.title} is nearly the same as one that is held out: name a source with others too."
        )
    _check_lossless(tokenizer, base, parts.train)
    writer = Writer(tokenizer, sentinels, config.data.context_tokens, config.data.max_tokens)
    rows = [row for epoch in range(config.optim.epochs) for row in epoch_rows(parts.train, writer, config.data, epoch)]
    if not rows:
        raise SourceError(
            f"No line of {read.title} makes an example of at most {writer.max_tokens} tokens: "
            "raise --max-tokens or name another source."
        )
    return Prepared(config, base, read, parts, writer, rows)


def _check_lossless(tokenizer: TextTokenizer, base: Base, documents: Sequence[Document]) -> None:
    """Raise BaseModelError where the base's tokenizer does not give text back as it was: suggestions would not fit."""
    for document in documents[:LOSSLESS_FILES]:
        text = document.text[:LOSSLESS_CHARS]
        if tokenizer.decode(tokenizer.encode(text)) != text:
            raise BaseModelError(
                f"The tokenizer of base {base.id!r} changes text that it encodes (seen in {document.path}): choose a "
                "base whose tokenizer gives back every byte, as the StarCoders' does."
            )


def holes(prepared: Prepared, purpose: str, count: int) -> list[tuple[str, Hole]]:
    """Held-out holes with their paths; each purpose has its own."""
    seed = f"{purpose}:{prepared.config.data.seed}"
    return held_out_holes(prepared.split.held_out, prepared.writer, count, seed)


def _given(prepared: Prepared, asked: TrainConfig, where: Where) -> Given:
    config, corpus = prepared.config, prepared.corpus
    return Given(
        config,
        settings.resolved(asked, config, where),
        prepared.base,
        loading.in_four_bits(config.model),
        prepared.writer.fim,
        corpus.root,
        inventory.take(corpus, prepared.split, prepared.writer.tokenizer),
    )


def _produce(prepared: Prepared, given: Given, interrupt: Interrupt, console: Console) -> Result | None:
    """Train and judge. A run that fails or ends too early can be resumed; a second Ctrl-C leaves nothing of it."""
    config = prepared.config
    place = checkpoint.place(config.output)
    keep = True
    try:
        with staging.explained(config.output):
            after = processes.shared(
                lambda: checkpoint.begin(place, fingerprint(prepared), config.resume, config.overwrite)
            )
            curve, optim = _train(prepared, place, after, interrupt, console)
        processes.leave()
        if not processes.is_first():
            return None
        _free()  # the training model's memory, before the serving one is loaded
        if len(curve.points) < 2:
            raise _Unfinished
        given = replace(given, config=replace(config, optim=optim))
        result = _finish(prepared, given, place / BEST, curve, interrupt, console)
        keep = False
        return result
    except _Unfinished:
        if checkpoint.latest(place):
            console.print(f"Stopped with nothing to keep yet but checkpoints, in {place}: --resume goes on with them.")
        raise
    except (KeyboardInterrupt, LeakError):
        keep = False
        raise
    finally:
        if processes.is_first():
            checkpoint.end(place, keep)


def fingerprint(prepared: Prepared) -> dict[str, Any]:
    """What must be the same for a run to be resumed."""
    config = prepared.config
    texts = "".join(document.sha256 for document in (*prepared.split.train, *prepared.split.held_out))
    return {
        "base": bases.fingerprint(prepared.base),
        "source": hashlib.sha256(texts.encode()).hexdigest(),
        **asdict(config.data),
        **asdict(config.lora),
        **asdict(config.optim),
    }


def _finish(
    prepared: Prepared, given: Given, best: Path, curve: Curve, interrupt: Interrupt, console: Console
) -> Result:
    config = prepared.config
    with staging.staged(config.output, config.overwrite) as folder:
        shutil.copytree(best, folder, dirs_exist_ok=True)
        manifest = manifest_record.describe(given, curve)
        manifest_record.write(manifest, folder)
        trials = _judge(prepared, folder, interrupt, console)
        found = scores.scores(trials)
        secrets = _ask_for_secrets(prepared, folder, interrupt, console)
        manifest = manifest.model_copy(update={"results": manifest_record.results(found, len(trials)) | secrets})
        manifest_record.write(manifest, folder)
        written.write(folder, written.Found(manifest, given.inventory, found, trials, prepared.base))
    if trials:
        train_console.figures(console, found.figures, trials)
    made, use = ("Model", "--base") if config.lora.method == "full" else ("Adapter", "--adapter")
    console.print(f"{made} {config.name} is in {config.output}: serve-copilot {use} {config.output}", soft_wrap=True)
    return Result(config.output, curve, trials, interrupt.asked)


def _ask_for_secrets(prepared: Prepared, folder: Path, interrupt: Interrupt, console: Console) -> dict[str, Any]:
    """What to record of canaries; raises LeakError where one was given back and that must not be.

    Ctrl-C leaves the others unasked; a run that must not leak is then kept as checkpoints only.
    """
    config = prepared.config
    chosen = canaries.find(prepared.corpus, config.canaries, config.data.seed) if config.canaries else []
    if not chosen:
        return {}
    whole = config.lora.method == "full"
    model = replace(config.model, base=str(folder)) if whole else config.model
    adapter = None if whole else adapters.load(folder)
    sizes = (prepared.writer.context_tokens, prepared.writer.max_tokens)
    with progress.counter(console, "asking for secrets", len(chosen)) as counter:

        def go_on(done: int) -> bool:
            counter(done)
            return not interrupt.asked

        with engines.served(model, *sizes, adapter) as service:
            asked, leaked = canaries.leaks(service, adapter.name if adapter else BARE, chosen, go_on)
    train_console.leaks(console, asked, leaked)
    if leaked and config.fail_on_leak:
        raise LeakError(
            f"The model gives back {len(leaked)} of the {asked} secrets that it was asked for, and nothing of it "
            "was kept: change those secrets, take the files that hold them out with .starlingignore, and train again."
        )
    if asked < len(chosen) and config.fail_on_leak:
        raise _Unfinished
    return {"canaries": {"asked": asked, "given back": len(leaked)}}


def _train(
    prepared: Prepared, folder: Path, after: Path | None, interrupt: Interrupt, console: Console
) -> tuple[Curve, OptimConfig]:
    """Train, from the checkpoint `after` on if there is one; where memory runs out, again with smaller forwards.

    With the curve the settings that were enough for it.
    """
    optim = prepared.config.optim
    while True:
        try:
            return _attempt(prepared, optim, folder, after, interrupt, console), optim
        except (RuntimeError, MemoryError) as error:
            if not oom.is_out(error):
                raise
            if processes.count() > 1:
                raise UsageError(
                    f"Memory ran out in one of {processes.count()} processes: use a smaller --batch and more "
                    "--accumulation, or a smaller --context-tokens."
                ) from error
            optim = oom.smaller(optim)
        _free()
        console.print(
            f"Memory ran out: going on with {optim.batch} example{'s'[: optim.batch != 1]} in a forward and "
            f"{optim.accumulation} forwards in a step (--batch {optim.batch} --accumulation {optim.accumulation})."
        )
        after = checkpoint.latest(folder)


def _attempt(
    prepared: Prepared,
    optim: OptimConfig,
    folder: Path,
    after: Path | None,
    interrupt: Interrupt,
    console: Console,
) -> Curve:
    """Load the base, train, and leave the best weights in `folder`."""
    config = prepared.config
    model, loaded, save = _trainee(config)
    watched = [hole for _, hole in holes(prepared, "watch", WATCHED)]
    sets = trainer.Sets(
        training_set(prepared.rows, prepared.split.train, prepared.writer, config.data.loss),
        middle_set(watched, prepared.writer),
    )
    vocabulary = model.config.vocab_size

    def started(loss: float) -> None:
        if notice := qlora.check_start(loss, vocabulary):
            console.print(f"Note: {notice}")

    with train_console.bar(console, trainer.steps(len(prepared.rows), optim)) as bar:
        hooks = trainer.Hooks(lambda: interrupt.asked, bar, save, started)
        curve = trainer.train(model, loaded, sets, optim, folder, hooks, after)
    best = curve.best
    console.print(
        f"Training ended: {curve.ended}; held-out loss {curve.points[0].held_out:.3f} to {best.held_out:.3f} "
        f"(step {best.step}, {best.seconds:.0f} s)."
    )
    return curve


def _trainee(config: TrainConfig) -> "tuple[PreTrainedModel | PeftModel, Loaded, Callable[[Path], None]]":
    """What learns, the base that it is or that it lies over, and how it is written."""
    torch.manual_seed(config.data.seed)
    if config.lora.method == "full":
        loaded = loading.load(replace(config.model, quantize="none", dtype="float32"))
        return full_weights.unfreeze(loaded), loaded, lambda folder: full_weights.save(loaded, folder)
    loaded = loading.load(config.model, training=True)
    model = qlora.wrap(loaded, config.lora)
    return model, loaded, lambda folder: qlora.save(model, loaded, folder)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _judge(prepared: Prepared, folder: Path, interrupt: Interrupt, console: Console) -> list[Trial]:
    """Base against adapter; Ctrl-C ends it with what was judged so far thrown away."""
    chosen = holes(prepared, "judge", prepared.config.holes)
    if interrupt.asked or not chosen:
        return []
    with progress.counter(console, "judging", len(chosen)) as counter:

        def go_on(done: int) -> bool:
            counter(done)
            return not interrupt.asked

        judged = judge.judge_base if prepared.config.lora.method == "full" else judge.judge
        trials = judged(folder, prepared.config.model, chosen, prepared.writer, go_on)
    return [] if interrupt.asked else trials
