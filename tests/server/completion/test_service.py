"""The service over the bundled base: what a caller sees."""

import asyncio
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import pytest
import torch
from support import adapter

from starling_server.completion.raw_completion import write
from starling_server.completion.service import Service
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.engine.protocols import Sampler, Sampling
from starling_server.errors import OutOfMemory, Overloaded, UnknownAdapter
from starling_server.http.completions import continuations
from starling_server.http.completions_wire import CompletionRequest
from starling_server.http.responses import together
from starling_server.models import adapter_folders, adapters, bases, manifest
from starling_server.models.manifest import BaseRecord, FimRecord, Manifest
from starling_server.schema import CompleteRequest, CompleteResponse
from starling_server.serve.start import start

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=False))
    yield service
    service.close()


async def ask(service: Service, prefix: str, suffix: str = "", **more: object) -> CompleteResponse:
    return await service.complete(CompleteRequest.model_validate({"prefix": prefix, "suffix": suffix, **more}))


async def test_an_answer_says_what_it_took(service: Service) -> None:
    answer = await ask(service, LINES + "item_12 = make")
    assert answer.choices[0].text
    assert answer.choices[0].finish_reason in ("line", "stop")
    assert answer.base == "tiny"
    assert answer.adapter is None
    assert answer.usage.prompt_tokens > answer.usage.completion_tokens > 0
    assert answer.timings.total_ms >= answer.timings.prefill_ms > 0


async def test_typing_along_is_answered_from_memory(service: Service) -> None:
    first = await ask(service, LINES + "item_12 = make", session="typing")
    text = first.choices[0].text
    assert len(text) > 3
    second = await ask(service, LINES + "item_12 = make" + text[:2], session="typing")
    assert (second.choices[0].text, second.usage.prompt_tokens) == (text[2:], 0)
    back = await ask(service, LINES + "item_12 = make", session="typing")
    assert (back.choices[0].text, back.usage.prompt_tokens) == (text, 0)
    other = await ask(service, LINES + "item_12 = make", session="another")
    assert other.usage.prompt_tokens > 0


async def test_what_was_just_deleted_is_asked_afresh(service: Service) -> None:
    """A misspelt name, and a backspace for each of its characters: the answers of a session without a past."""
    before = "import os\np = os.path."
    await ask(service, before + "joyn", "\n", session="deleting")
    for left in ("joy", "jo", "j", ""):
        fresh = await ask(service, before + left, "\n")
        again = await ask(service, before + left, "\n", session="deleting")
        assert again.choices == fresh.choices
        assert again.usage.prompt_tokens > 0


async def test_what_follows_acceptance_is_computed_ahead() -> None:
    service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=True))
    prefix = LINES + "item_12 = make"
    first = await ask(service, prefix, session="ahead")
    accepted = CompleteRequest(prefix=prefix + first.choices[0].text, session="ahead")
    async with asyncio.timeout(60):
        while not service.remembers(accepted):  # noqa: ASYNC110 - the service has no event for it
            await asyncio.sleep(0.01)
    assert (await service.complete(accepted)).usage.prompt_tokens == 0
    service.close()


async def test_crlf_comes_back_as_crlf(service: Service) -> None:
    lines = LINES.replace("\n", "\r\n")
    answer = await ask(service, lines + "def f():", "\r\n", mode="block")
    text = answer.choices[0].text
    assert "\n" not in text.replace("\r\n", "")
    same = await ask(service, LINES + "def f():", "\n", mode="block")
    assert same.choices[0].text.replace("\n", "\r\n") == text


async def test_choices_differ_and_are_repeatable(service: Service) -> None:
    body: dict[str, Any] = {"n": 3, "temperature": 1.0, "seed": 7, "max_tokens": 8}
    answer = await ask(service, "import ", **body)
    texts = [choice.text for choice in answer.choices]
    assert len(set(texts)) == len(texts) <= 3
    assert texts == [choice.text for choice in (await ask(service, "import ", **body)).choices]


async def test_a_deadline_answers_with_what_is_there(service: Service) -> None:
    answer = await ask(service, "long = 1\n" * 2000, deadline_ms=1)
    assert answer.choices[0].finish_reason == "deadline"


async def test_a_newer_request_supersedes(service: Service) -> None:
    old = asyncio.create_task(ask(service, "a = 1\n" * 900 + "def f():", session="s", mode="block"))
    await asyncio.sleep(0)
    new = await ask(service, "b = 2\n", session="s", max_tokens=1)
    assert (await old).choices[0].finish_reason == "superseded"
    assert new.choices[0].finish_reason != "superseded"


async def test_sentinels_in_the_text_are_text(service: Service) -> None:
    answer = await ask(service, LINES + 'token = "<fim_middle>"\nitem_12 = ', "<|endoftext|>")
    assert "<fim" not in answer.choices[0].text


@pytest.mark.parametrize("prefix", ["", "\n", "x" * 100_000, "😀" * 50_000, "\t"])
async def test_odd_text_is_answered(service: Service, prefix: str) -> None:
    answer = await ask(service, prefix, prefix, max_tokens=2)
    assert answer.usage.prompt_tokens <= 1024


async def test_a_small_context_holds_code_however_long_an_answer_may_be() -> None:
    service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=False, context_tokens=256))
    answer = await ask(service, LINES + "item_12 = make", max_tokens=512, show_prompt=True)
    service.close()
    assert answer.prompt is not None
    assert answer.prompt.endswith("item_12 = make")


async def test_an_unknown_adapter_is_named(service: Service) -> None:
    with pytest.raises(UnknownAdapter, match=r"'nobody'.*use one of base"):
        await ask(service, "a", adapter="nobody")


async def test_other_files_go_to_who_has_learnt_them(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled base has not: its answer with them is the remembered one without. An adapter's manifest says so."""
    monkeypatch.setattr(adapter_folders, "STILL_SECONDS", 0.0)
    for name, tokens in (("without", 0), ("learnt", 40)):
        adapter.write(adapters.home() / name, bases.find("tiny"), repository_tokens=tokens)
    context = [{"path": "shop.py", "text": "def sold(item):\n    return item.price\n" * 20}]
    asked: tuple[dict[str, Any], ...] = ({}, {"context": context})
    sizes = {
        name: [
            (await ask(service, LINES, session="s", max_tokens=1, adapter=name, **more)).usage.prompt_tokens
            for more in asked
        ]
        for name in ("base", "without", "learnt")
    }
    assert sizes["base"][1] == sizes["without"][1] == 0, "the same request again"
    assert 20 < sizes["learnt"][1] - sizes["learnt"][0] <= 40
    for name in ("without", "learnt"):
        service.adapters.withdraw(name)


async def test_a_damaged_adapter_is_a_clear_error_and_the_base_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapters.home() / "damaged"
    folder.mkdir(parents=True)
    shelf = service.adapters
    record = Manifest(
        name="damaged",
        created=datetime.now(UTC),
        base=BaseRecord(id="tiny", fingerprint=bases.fingerprint(bases.find("tiny")), model_type="gpt_bigcode"),
        fim=FimRecord(family="gpt_bigcode", order="spm", context_tokens=512, max_tokens=64),
    )
    (folder / manifest.MANIFEST).write_text(record.model_dump_json())
    (folder / adapters.WEIGHTS).write_bytes(b"not weights")
    monkeypatch.setattr(adapter_folders, "STILL_SECONDS", 0.0)  # no copy that is under way
    assert shelf.names() == []
    with pytest.raises(UnknownAdapter, match=r"no adapter_config.json: train the adapter again"):
        await ask(service, "a", adapter="damaged")
    assert (await ask(service, "import os\n", max_tokens=1)).adapter is None


async def test_a_model_that_says_one_thing_over_and_over_suggests_nothing() -> None:
    service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=False))
    runner: Any = service.backend.engine.runner
    [mark] = service.backend.tokenizer.encode("!")
    expected = {service.backend.fim.middle: ("stop", 0), mark: ("length", 64)}
    for token, ending in expected.items():

        def sampler(_: Sampling, token: int = token) -> Sampler:
            return lambda _: token

        runner.sampler = sampler
        answer = await ask(service, 'x = 1\nprint(f"', '")')
        assert answer.choices[0].text == ""
        assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ending
    service.close()


@pytest.mark.parametrize(
    ("planted", "expected"), [(RuntimeError("planted"), RuntimeError), (torch.OutOfMemoryError("x"), OutOfMemory)]
)
async def test_a_forward_that_fails_costs_its_request_only(
    service: Service, planted: Exception, expected: type[Exception]
) -> None:
    def fail(*_: Any) -> None:
        raise planted

    model: Any = service.backend.engine.runner
    hook = model._model.transformer.h[3].register_forward_pre_hook(fail)
    with pytest.raises(expected):
        await ask(service, "a = 1\n")
    hook.remove()
    assert (await ask(service, LINES + "item_12 = make", max_tokens=2)).usage.completion_tokens > 0


async def test_parts_of_a_request_end_with_the_one_that_is_refused() -> None:
    service = start(ModelConfig(base="tiny"), ServiceConfig(prefetch=False, queue=1))
    asked = CompletionRequest(prompt=[f"x{n} = " for n in range(16)], max_tokens=500, n=8, temperature=1.0)
    parts = [write(service, part, 10.0) for part in continuations(service, asked, None)]
    with pytest.raises(Overloaded):
        await together(parts)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    service.close()
