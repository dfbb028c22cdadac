"""What is proposed, and that it changes nothing but the number of forwards."""

import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.engine.engine import Engine, Job, Usage
from starling_server.engine.prompt_lookup import GRAMS, Drafter, agreed
from starling_server.engine.protocols import Sampling
from starling_server.prompt import window
from starling_server.prompt.cursor import Cursor

CACHE = 1 << 28
IDS = st.lists(st.integers(0, 5), max_size=40)


@pytest.mark.parametrize(
    ("texts", "most", "expected"),
    [
        ([[1, 2, 3, 4, 5, 1, 2, 3]], 3, [4, 5, 1]),
        ([[1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3]], 1, [5]),
        ([[8, 1, 2, 3, 7, 1, 2]], 2, [3, 7]),
        ([[1, 2, 3], [1, 2]], 3, [3]),
        ([[1, 2, 3, 4], [3]], 3, []),
        ([[1, 2], [3, 1, 2]], 3, []),
        ([[1, 2, 3]], 3, []),
        ([[]], 3, []),
    ],
)
def test_what_is_proposed(texts: list[list[int]], most: int, expected: list[int]) -> None:
    assert Drafter(texts).propose(most) == expected


@given(IDS, IDS)
def test_the_newest_of_the_longest_matches(first: list[int], second: list[int]) -> None:
    drafter = Drafter([first])
    drafter.extend(second)
    ids = first + second

    def slow() -> list[int]:
        for size in GRAMS:
            for at in range(len(ids) - 1, size - 1, -1):
                if ids[at - size : at] == ids[-size:]:
                    return ids[at : at + 3]
        return []

    assert drafter.propose(3) == slow()


def test_what_decoding_agrees_with() -> None:
    rows = [4, 5, 6, 7]
    assert agreed(rows, [4, 5, 6], int) == [4, 5, 6, 7]
    assert agreed(rows, [4, 9, 6], int) == [4, 5]
    assert agreed(rows[:1], [], int) == [4]


def answers(
    engine: Engine, loaded: Loaded, text: str, temperature: float, drafts: bool
) -> tuple[list[list[int]], Usage]:
    """What is generated at 40 cursors, and the work of all."""
    total, found, rng = Usage(), list[list[int]](), random.Random(1)
    for number in range(40):
        at = rng.randrange(len(text) - 10)
        cut = window.fit(Cursor.at(text[:at], text[at + 10 :]), 500, loaded.tokenizer.encode)
        prompt = loaded.fim.prompt(cut.prefix, cut.suffix)
        sampling = Sampling(temperature, seed=number)
        drafter = partial(Drafter, [prompt]) if drafts else None
        generation = engine.generate(Job(prompt, 24, loaded.fim.stops, sampling, drafter=drafter))
        found.append(list(generation))
        total.drafted_tokens += generation.usage.drafted_tokens
        total.accepted_tokens += generation.usage.accepted_tokens
    return found, total


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_drafts_change_no_answer(exact: Loaded, source: str, temperature: float) -> None:
    plain, none = answers(Engine(TorchRunner(exact), CACHE), exact, source, temperature, drafts=False)
    drafted, usage = answers(Engine(TorchRunner(exact), CACHE), exact, source, temperature, drafts=True)
    assert drafted == plain
    assert none.drafted_tokens == 0
    assert usage.drafted_tokens > usage.accepted_tokens > 0
