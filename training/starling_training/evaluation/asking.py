"""From holes to trials: every side is asked at every hole, in turn, until Ctrl-C."""

from collections.abc import Sequence
from dataclasses import replace

from starling_training.evaluation.engines import PLAIN, Manner
from starling_training.evaluation.judge import GoOn, answer, both
from starling_training.evaluation.sides import Side
from starling_training.evaluation.trials import Placed, Trial, truth


async def trials(sides: Sequence[Side], holes: Sequence[Placed], go_on: GoOn, manner: Manner = PLAIN) -> list[Trial]:
    """Both sides at each hole; one alone stands for both."""
    if len(sides) == 2:
        return await both(sides[0].engine, sides[1].engine, holes, go_on, manner)
    made = list[Trial]()
    for path, hole in holes:
        found = await answer(sides[0].engine, path, hole, manner)
        made.append(Trial(path, hole, truth(hole, manner.mode), found, found))
        if not go_on(len(made)):
            break
    return made


def with_near(found: Sequence[Trial], labels: Sequence[str]) -> list[Trial]:
    """Trials that know how close their documents come to what was learnt."""
    return [replace(trial, near=label) for trial, label in zip(found, labels, strict=False)]
