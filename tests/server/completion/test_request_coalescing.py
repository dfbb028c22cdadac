"""Keys typed while a generation runs: it goes on where they agree with it, and ends where they do not."""

import asyncio
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from starling_server.completion.service import Service
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.engine.engine import Engine, Job
from starling_server.engine.protocols import Feed, Rows
from starling_server.schema import CompleteRequest, CompleteResponse
from starling_server.serve.start import start

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))
PREFIX = LINES + "item_12 = make"


class Watched:
    """A service whose generations and forwards are counted; a forward can be held up."""

    def __init__(self) -> None:
        self.service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=False, drafts=False))
        self.jobs = list[Job]()
        self.forwards = 0
        engine = self.service.backend.engine
        assert isinstance(engine, Engine)
        generate, runner = engine.generate, engine.runner
        feed = runner.feed

        def counted(job: Job) -> Any:
            self.jobs.append(job)
            return generate(job)

        def watched(feeds: Sequence[Feed]) -> list[Rows]:
            self.forwards += 1
            return feed(feeds)

        engine.generate, runner.feed = counted, watched

    async def ask(self, prefix: str, session: str = "s") -> CompleteResponse:
        return await self.service.complete(CompleteRequest(prefix=prefix, session=session))

    async def under_way(self, forwards: int = 1) -> None:
        """Wait until the model computes."""
        async with asyncio.timeout(60):
            while self.forwards < forwards:  # noqa: ASYNC110 - forwards happen in another thread
                await asyncio.sleep(0.001)


@pytest.fixture
def watched() -> Generator[Watched]:
    watched = Watched()
    yield watched
    watched.service.close()


@pytest.fixture(scope="module")
def suggested() -> str:
    """What is suggested at `PREFIX`: enough of it to type along."""
    service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=False))
    answer = asyncio.run(service.complete(CompleteRequest(prefix=PREFIX)))
    service.close()
    assert len(answer.choices[0].text) > 4
    return answer.choices[0].text


async def test_keys_that_agree_wait_for_the_generation_that_runs(watched: Watched, suggested: str) -> None:
    asked = [asyncio.create_task(watched.ask(PREFIX))]
    await watched.under_way()
    for typed in (1, 2, 3):
        asked.append(asyncio.create_task(watched.ask(PREFIX + suggested[:typed])))
        await asyncio.sleep(0)
    texts = [(await task).choices[0].text for task in asked]
    assert texts == [suggested[typed:] for typed in range(4)]
    assert len(watched.jobs) == 1


async def test_an_editor_that_cancels_before_it_asks_again_loses_nothing(watched: Watched, suggested: str) -> None:
    first = asyncio.create_task(watched.ask(PREFIX))
    await watched.under_way()
    first.cancel()
    second = await watched.ask(PREFIX + suggested[:2])
    assert second.choices[0].text == suggested[2:]
    assert len(watched.jobs) == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_key_that_disagrees_ends_it(watched: Watched, suggested: str) -> None:
    other = "Z" if suggested[0] != "Z" else "Y"
    first = asyncio.create_task(watched.ask(PREFIX))
    await watched.under_way(forwards=4)
    second = await watched.ask(PREFIX + other)
    assert second.choices[0].finish_reason != "superseded"
    assert not second.choices[0].text.startswith(suggested)
    assert (await first).choices[0].finish_reason == "superseded"
    assert len(watched.jobs) == 2


async def test_a_wait_that_was_for_nothing_is_made_good(watched: Watched, suggested: str) -> None:
    """The key disagrees with what the generation writes only later."""
    first = asyncio.create_task(watched.ask(PREFIX))
    await watched.under_way()
    second = await watched.ask(PREFIX + suggested[0] + "\u00df")
    assert second.choices[0].finish_reason not in ("superseded", "cancelled")
    assert (await first).choices[0].finish_reason == "superseded"
    assert len(watched.jobs) == 2


async def test_the_last_to_leave_ends_it(watched: Watched) -> None:
    asked = asyncio.create_task(watched.ask("x = 1\n" * 150 + "def f(a):\n"))
    await watched.under_way()
    asked.cancel()
    await asyncio.sleep(0.5)
    ended = watched.forwards
    await asyncio.sleep(0.3)
    assert watched.forwards == ended
    assert watched.jobs[0].interrupted() == "cancelled"


async def test_twenty_keys_start_two_generations_at_most(watched: Watched, suggested: str) -> None:
    """Twenty keys at 40 ms along a suggestion and back; each asks and cancels the one before, as editors do."""
    task = None
    for size in range(20):
        if task is not None:
            task.cancel()
        task = asyncio.create_task(watched.ask(PREFIX + suggested[: size % len(suggested)]))
        await asyncio.sleep(0.04)
    assert task is not None
    await task
    done = watched.forwards
    await asyncio.sleep(0.2)
    assert watched.forwards == done
    assert len(watched.jobs) <= 2


async def test_reading_a_prompt_ahead_makes_the_answer_come_from_the_cache(watched: Watched) -> None:
    ahead = await watched.service.complete(CompleteRequest(prefix=PREFIX, session="s", max_tokens=0))
    assert (ahead.choices[0].text, ahead.usage.completion_tokens) == ("", 0)
    answer = await watched.ask(PREFIX)
    assert answer.usage.cached_tokens == answer.usage.prompt_tokens - 1
    assert answer.choices[0].text


async def test_sessions_side_by_side_answer_as_alone(watched: Watched) -> None:
    prefixes = [LINES + f"item_{n} = make" for n in range(12, 18)]
    together = await asyncio.gather(*(watched.ask(prefix, prefix) for prefix in prefixes))
    alone: Service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=False, drafts=False))
    expected = [(await alone.complete(CompleteRequest(prefix=prefix))).choices[0].text for prefix in prefixes]
    alone.close()
    assert [answer.choices[0].text for answer in together] == expected
