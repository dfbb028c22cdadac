"""Callback between the steps of a run: starts evaluations, keeps the best weights and stops the run."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from starling_training import staging
from starling_training.fit.schedule import Curve, Ended, Pace, Point

SAVE_SECONDS = 600
"""Max training time that a kill can lose."""


class Watch(TrainerCallback, ExportableState):
    """Controls a run. Sequence of an evaluation: `due` requests it, the trainer computes it, `on_evaluate` records it.

    A checkpoint follows every evaluation; further ones are written if evaluations are far apart.
    """

    def __init__(
        self,
        pace: Pace,
        evaluations: int,
        patience: int,
        interrupted: Callable[[], bool],
        keep: Callable[[], None],
        show: Callable[[int, float, Curve], None],
        started: Callable[[float], None],
    ) -> None:
        self.curve = Curve()
        self._pace, self._evaluations, self._patience = pace, evaluations, patience
        self._interrupted, self._keep, self._show, self._started = interrupted, keep, show, started
        self._losses: list[float] = []
        self._done = 0
        self._before = self._saved = 0.0

    def state(self) -> dict[str, Any]:
        """The state to save in a checkpoint."""
        points = [asdict(point) for point in self.curve.points]
        return {"points": points, "losses": self._losses, "done": self._done, "seconds": self._pace.elapsed}

    def resume(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.curve.points[:] = [Point(**point) for point in state["points"]]
        self._losses, self._done = state["losses"], state["done"]
        self._before = self._saved = state["seconds"]

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock with the first step."""
        self._pace.start(self._before)

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Read the clock: the next step's learning rate depends on it."""
        self._pace.tick()

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Record the time of the last checkpoint, and set the file modes that the umask allows."""
        self._saved = self._pace.elapsed
        written = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and written.is_dir():
            staging.share(written)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Request an evaluation if one is due, and end the run if a stop condition holds."""
        if reason := self._reason():
            self.curve.ended = reason
            control.should_training_stop = True
        due = self._pace.progress(state.global_step) * self._evaluations >= self._done + 1
        last = control.should_training_stop or state.global_step >= self._pace.steps
        control.should_evaluate = due or (last and self.curve.ended != "interrupted")
        control.should_save = not last and (due or self._pace.elapsed - self._saved > SAVE_SECONDS)

    def on_log(self, args: TrainingArguments, state: TrainerState, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Record a step's training loss."""
        if "loss" in logs:
            self._losses.append(logs["loss"])
            self._show(state.global_step, logs["loss"], self.curve)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Record an evaluation, save the weights if they are the best so far, and stop without recent improvement."""
        train = sum(self._losses) / len(self._losses) if self._losses else None
        seconds = self._pace.elapsed if state.global_step else 0.0
        point = Point(state.global_step, seconds, train, more["metrics"]["eval_loss"])
        self.curve.points.append(point)
        self._losses.clear()
        self._done = int(self._pace.progress(state.global_step) * self._evaluations) if state.global_step else 0
        if not state.global_step:
            self._started(point.held_out)
            self._pace.start()  # exclude the first evaluation from the training time
        elif self.curve.best is point:
            self._keep()
        elif self.curve.since_best >= self._patience and self.curve.ended == "all steps done":
            self.curve.ended = "no better any more"
            control.should_training_stop = True

    def _reason(self) -> Ended | None:
        if self._interrupted():
            return "interrupted"
        return "time is up" if self._pace.late else None
