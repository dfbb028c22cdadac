"""`eval-copilot benchmark`: evaluates every side on the tasks of a public benchmark, executed where possible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from rich.console import Console

from starling_server.errors import UsageError
from starling_training.evaluation import benchmarks, evaluation_run
from starling_training.evaluation.benchmarks import Name, Task
from starling_training.evaluation.execute import Limits
from starling_training.evaluation.sides import Asked, Side
from starling_training.scoring.engines import Engine, Manner
from starling_training.scoring.judge import GoOn, answer
from starling_training.scoring.result_file import Run
from starling_training.scoring.trials import Answer, Trial, truth
from starling_training.sources import origins


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tasks to run and how to check the answers."""

    tasks: int
    """0 means all."""
    seed: int
    execute: bool
    samples: int
    temperature: float
    seconds: float

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values, naming the flag."""
        if not 1 <= self.samples <= 1000:
            raise UsageError("--samples must be between 1 and 1000.")
        if self.seconds <= 0:
            raise UsageError("--seconds must be more than 0.")


def asked_at(asked: Asked, name: Name, source: str, wanted: Wanted, console: Console) -> Run:
    """Every side at every task."""
    tasks = benchmarks.read(name, source)
    if 0 < wanted.tasks < len(tasks):
        tasks = Random(wanted.seed).sample(tasks, wanted.tasks)
    if wanted.execute and not any(task.check for task in tasks):
        raise UsageError(f"None of these {name} tasks can be run here: leave out --execute.")
    settings = {"benchmark": origins.shown(source), "tasks": str(len(tasks)), "seed": str(wanted.seed)}

    async def ask(sides: Sequence[Side], go_on: GoOn) -> Run:
        made = list[Trial]()
        for task in tasks:
            found = [await _answer(side.engine, task, wanted) for side in sides]
            made.append(Trial(task.path, task.hole, truth(task.hole, task.mode), found[0], found[-1]))
            if not go_on(len(made)):
                break
        return evaluation_run.made(asked, f"{name}, {len(made)} tasks", sides, settings, made)

    return evaluation_run.with_sides(asked, len(tasks), "asking", ask, console)


async def _answer(engine: Engine, task: Task, wanted: Wanted) -> Answer:
    """The first sample's answer, and for each sample whether it passes."""
    manner = Manner(task.mode, wanted.temperature, wanted.seed)
    first = await answer(engine, task.path, task.hole, manner)
    if not (wanted.execute and task.check):
        return first
    texts = [first.text]
    for number in range(1, wanted.samples):
        more = replace(manner, seed=wanted.seed + number, scored=False)
        texts.append((await engine.ask(task.hole, more)).text)
    limits = Limits(wanted.seconds)
    once = {text: task.check.passes(text, limits) for text in set(texts)}
    return replace(first, passed=tuple(once[text] for text in texts))
