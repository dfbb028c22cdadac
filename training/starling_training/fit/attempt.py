"""Training with a retry: when memory runs out, the run continues from its last checkpoint with smaller forward passes.

The number of examples per step stays the same, so the schedule and the result do not depend on the retry.
"""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from starling_server.errors import UsageError
from starling_training import processes
from starling_training.config import OptimConfig
from starling_training.fit import checkpoint, methods, trainer
from starling_training.fit.prepare import Prepared
from starling_training.fit.schedule import Curve, steps
from starling_training.fit.trainer import middle_set, training_set

EVALUATION_HOLES = 40
"""Holes of the evaluations during training; the final evaluation uses others."""
_CPU_WORDS = ("can't allocate memory", "not enough memory")
"""torch has no exception type for running out of host memory."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Callbacks for a run's output and for its interrupt."""

    say: Callable[[str], object]
    """Print a line."""
    bar: Callable[[int], AbstractContextManager[Callable[[int, float, Curve], None]]]
    """A progress bar over this many steps; it is called with each step, its loss and the evaluations so far."""
    interrupted: Callable[[], bool]


def train(prepared: Prepared, folder: Path, after: Path | None, feedback: Feedback) -> tuple[Curve, OptimConfig]:
    """Train, from the checkpoint `after` if given, and write the best weights to `folder`.

    Returns the curve and the settings that fitted into memory. Raises UsageError if not even one example fits.
    """
    optim = prepared.config.optim
    while True:
        try:
            return _attempt(prepared, optim, folder, after, feedback), optim
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            optim = _smaller_forward(optim, error)
        free_memory()
        feedback.say(
            f"Out of memory: continuing with --batch {optim.batch} --accumulation {optim.accumulation}, "
            "which makes the same steps from smaller forward passes."
        )
        after = checkpoint.latest(folder)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that GPU or host memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_WORDS)


def smaller(optim: OptimConfig) -> OptimConfig:
    """`optim` with fewer examples per forward pass and as many per step; raises UsageError at one example."""
    if optim.batch == 1:
        raise UsageError(
            "Out of memory with one example per forward pass: use a smaller --context-tokens, --method qlora or a "
            "smaller --base. --dry-run prints the memory that each method needs."
        )
    batch = max(size for size in range(1, optim.batch) if optim.batch % size == 0)
    return replace(optim, batch=batch, accumulation=optim.accumulation * optim.batch // batch)


def free_memory() -> None:
    """Release the memory of models that are no longer referenced."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _smaller_forward(optim: OptimConfig, error: RuntimeError | MemoryError) -> OptimConfig:
    """Settings for the next attempt; several processes cannot retry together."""
    if processes.count() > 1:
        raise UsageError(
            f"Out of memory in one of {processes.count()} processes: use a smaller --batch with more --accumulation, "
            "or a smaller --context-tokens."
        ) from error
    return smaller(optim)


def _attempt(prepared: Prepared, optim: OptimConfig, folder: Path, after: Path | None, feedback: Feedback) -> Curve:
    """Load the base and train once."""
    trainee = methods.load(prepared.config)
    vocabulary = trainee.model.config.vocab_size

    def started(loss: float) -> None:
        if notice := methods.check_start(loss, vocabulary):
            feedback.say(f"Note: {notice}")

    with feedback.bar(steps(len(prepared.rows), optim)) as bar:
        hooks = trainer.Hooks(feedback.interrupted, bar, trainee.save, started)
        curve = trainer.train(trainee.model, trainee.loaded, _sets(prepared), optim, folder, hooks, after)
    best = curve.best
    feedback.say(
        f"Training ended: {curve.ended}. Held-out loss: {curve.points[0].held_out:.3f} before, {best.held_out:.3f} at "
        f"the best step ({best.step}, after {best.seconds:.0f} s)."
    )
    return curve


def _sets(prepared: Prepared) -> trainer.Sets:
    """The rows to train on and the holes to evaluate on."""
    watched = [hole for _, hole in prepared.holes("watch", EVALUATION_HOLES)]
    return trainer.Sets(
        training_set(prepared.rows, prepared.split.train, prepared.writer, prepared.config.data.loss, prepared.others),
        middle_set(watched, prepared.writer, prepared.others),
    )
