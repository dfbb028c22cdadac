"""OpenAI's shape against a real serve-copilot: by OpenAI's own client, and as editors' plugins fill it."""

import json
import re
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest

from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ServiceConfig
from starling_server.engine.engine import Engine, Job
from starling_server.engine.protocols import GREEDY
from starling_server.http import completions
from starling_server.http.completions_wire import CompletionRequest
from starling_server.prompt.raw_prompt import shorten
from starling_server.schema import CompleteRequest

LINES = "".join(f"item_{n} = make_item({n})\n" for n in range(12))
RAW = f"<fim_prefix><fim_suffix>\n<fim_middle>{LINES}item_12 = make"


@pytest.fixture(scope="module")
def client(served: str) -> Generator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def http(served: str) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=served, timeout=60, trust_env=False) as client:
        yield client


def events(http: httpx2.Client, body: dict[str, Any]) -> list[Any]:
    with http.sse("/v1/completions", method="POST", json={**body, "stream": True}) as source:
        found = [event.data for event in source]
    assert found[-1] == "[DONE]"
    return [json.loads(data) for data in found[:-1]]


def test_with_a_suffix_it_is_the_suggestion_that_complete_gives(client: openai.OpenAI, http: httpx2.Client) -> None:
    ours = http.post("/complete", json={"prefix": LINES + "item_12 = make", "suffix": "\n"}).json()
    theirs = client.completions.create(model="tiny", prompt=LINES + "item_12 = make", suffix="\n")
    assert theirs.choices[0].text == ours["choices"][0]["text"] != ""
    assert theirs.choices[0].finish_reason == "stop"
    assert theirs.usage is not None
    assert theirs.usage.prompt_tokens == ours["usage"]["prompt_tokens"]
    assert theirs.usage.total_tokens == theirs.usage.prompt_tokens + theirs.usage.completion_tokens
    streamed = client.completions.create(model="", prompt=LINES + "item_12 = make", suffix="\n", stream=True)
    assert "".join(part.choices[0].text for part in streamed) == theirs.choices[0].text


def test_a_raw_prompt_is_the_models_own_greedy_text(client: openai.OpenAI, exact: Loaded) -> None:
    ids = exact.tokenizer.encode_marked(RAW)
    assert ids[:2] == [exact.fim.prefix, exact.fim.suffix]
    expected = list(Engine(TorchRunner(exact), 1 << 24).generate(Job(ids, 24, exact.fim.stops, GREEDY)))
    text = exact.tokenizer.decode(expected)
    assert text
    by_text = client.completions.create(model="base", prompt=RAW, max_tokens=24)
    by_ids = client.completions.create(model="base", prompt=ids, max_tokens=24)
    assert by_text.choices[0].text == by_ids.choices[0].text == text
    assert by_text.usage is not None
    assert (by_text.usage.prompt_tokens, by_text.usage.completion_tokens) == (len(ids), len(expected))


def test_text_that_spells_a_sentinel_is_text_where_there_is_a_suffix(http: httpx2.Client, exact: Loaded) -> None:
    spelled = {"prefix": "x = '<fim_middle>'\ny =", "suffix": "\n", "show_prompt": True}
    answer = http.post("/complete", json=spelled).json()
    sent = exact.tokenizer.encode("x = '<fim_middle>'\ny =")
    assert exact.fim.middle not in sent
    assert answer["usage"]["prompt_tokens"] == len(sent) + len(exact.tokenizer.encode("\n")) + 3
    assert answer["prompt"] == "<fim_prefix><fim_suffix>\n<fim_middle>x = '<fim_middle>'\ny ="


def test_streams_add_up_and_end_with_what_they_took(client: openai.OpenAI, http: httpx2.Client) -> None:
    body: dict[str, Any] = {"prompt": RAW, "max_tokens": 24}
    whole = client.completions.create(model="base", **body)
    parts = events(http, {**body, "model": "base", "stream_options": {"include_usage": True}})
    assert "".join(part["choices"][0]["text"] for part in parts if part["choices"]) == whole.choices[0].text
    assert [part["choices"][0]["finish_reason"] for part in parts if part["choices"]][-1] == whole.choices[
        0
    ].finish_reason
    assert parts[-1]["choices"] == []
    assert whole.usage is not None
    assert parts[-1]["usage"]["completion_tokens"] == whole.usage.completion_tokens


def test_a_stop_is_never_told_not_even_its_beginning(client: openai.OpenAI, http: httpx2.Client) -> None:
    free = client.completions.create(model="base", prompt=LINES, max_tokens=40).choices[0].text
    stop = free[10:14]
    for stops in (stop, [stop, "never there"]):
        body: dict[str, Any] = {"model": "base", "prompt": LINES, "max_tokens": 40, "stop": stops}
        texts = [part["choices"][0]["text"] for part in events(http, body)]
        assert "".join(texts) == free[: free.index(stop)]
    assert http.post("/v1/completions", json=body).json()["choices"][0]["text"] == free[: free.index(stop)]


def test_several_prompts_and_several_choices(client: openai.OpenAI) -> None:
    found = client.completions.create(model="base", prompt=[LINES, "import os\n"], n=3, max_tokens=6, seed=3)
    again = client.completions.create(model="base", prompt=[LINES, "import os\n"], n=3, max_tokens=6, seed=3)
    assert [choice.index for choice in found.choices] == list(range(6))
    assert [choice.text for choice in found.choices] == [choice.text for choice in again.choices]
    assert len({choice.text for choice in found.choices[:3]}) > 1
    alone = client.completions.create(model="base", prompt="import os\n", max_tokens=6, temperature=0)
    echoed = client.completions.create(model="base", prompt=["import os\n"], max_tokens=6, echo=True)
    assert echoed.choices[0].text == "import os\n" + alone.choices[0].text


def test_a_narrow_share_draws_the_likeliest(client: openai.OpenAI) -> None:
    greedy = client.completions.create(model="base", prompt=LINES, max_tokens=12)
    narrow = client.completions.create(model="base", prompt=LINES, max_tokens=12, temperature=2, top_p=1e-6, seed=1)
    wide = client.completions.create(model="base", prompt=LINES, max_tokens=12, temperature=2, seed=1)
    assert narrow.choices[0].text == greedy.choices[0].text != wide.choices[0].text


def test_logprobs_are_the_models_own(client: openai.OpenAI, exact: Loaded) -> None:
    found = client.completions.create(model="base", prompt=LINES, max_tokens=6, logprobs=3).choices[0]
    told = found.logprobs
    assert told is not None
    assert told.tokens is not None
    assert "".join(told.tokens) == found.text
    ids = exact.tokenizer.encode_marked(LINES)
    written = exact.tokenizer.encode(found.text)
    expected = TorchRunner(exact).score(None, [*ids, *written], len(ids))
    assert told.token_logprobs == pytest.approx(expected, abs=1e-3)
    assert told.top_logprobs is not None
    for token, nats, best in zip(told.tokens, told.token_logprobs or [], told.top_logprobs, strict=True):
        assert max(best.values()) == pytest.approx(nats)
        assert token in best
        assert len(best) == 3


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    for name in ("tiny", "base", "starling", ""):
        assert client.completions.create(model=name, prompt="x", max_tokens=1).model == "tiny"
    with pytest.raises(openai.NotFoundError, match="There is no adapter 'gpt-4'"):
        client.completions.create(model="gpt-4", prompt="x")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"logprobs": 2, "stream": True}, "leave those out"),
    ({"logprobs": 2, "suffix": ""}, "leave those out"),
    ({"logprobs": 6}, "logprobs"),
    ({"frequency_penalty": 0.5}, "frequency_penalty is not supported"),
    ({"temperature": 2.5}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 9}, "n: "),
    ({"seed": -1}, "seed"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": ["x"] * 65}, "prompt"),
    ({"logit_bias": {"5": 1}}, "logit_bias is not supported"),
    ({"presence_penalty": 0.5}, "presence_penalty is not supported"),
    ({"best_of": 3}, "best_of differs from n"),
    ({"echo": True, "suffix": ""}, "no echo"),
    ({"prompt": ["a", "b"], "suffix": ""}, "one prompt of text"),
    ({"n": 2, "temperature": 0}, "temperature above 0"),
    ({"prompt": [10**6]}, "id 1000000"),
    ({"prompt": "x " * 40_000}, "send less of it"),
    ({"stop": [""]}, "stop"),
]


@pytest.mark.parametrize(("fields", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_served_is_refused_in_a_sentence(
    client: openai.OpenAI, fields: dict[str, Any], sentence: str
) -> None:
    asked: dict[str, Any] = {"model": "base", "prompt": "x", **fields}
    with pytest.raises(openai.UnprocessableEntityError, match=sentence):
        client.completions.create(**asked)


ACCEPTED: list[dict[str, Any]] = [
    {"prompt": "x ="}, {"prompt": ["x =", "y ="]}, {"prompt": [1, 2, 3]}, {"prompt": [[1, 2], [3]]}, {"prompt": ""},
    {"prompt": ["x ="], "suffix": "\n"}, {"best_of": 1}, {"best_of": 2, "n": 2, "temperature": 1}, {"echo": True},
    {"logit_bias": {}, "presence_penalty": 0.0, "frequency_penalty": 0}, {"logprobs": 0}, {"max_tokens": 0},
    {"stop": []}, {"stop": "a"}, {"stop": ["a", "b"]}, {"user": "me", "seed": 1, "temperature": 0.5, "top_p": 0.5},
    {"stream_options": None, "suffix": None, "logprobs": None, "stop": None, "n": None},
]  # fmt: skip


@pytest.mark.parametrize("fields", ACCEPTED, ids=range(len(ACCEPTED)))
def test_every_documented_field_is_taken(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"model": "base", "prompt": "x", "max_tokens": 2, **fields}
    found = client.completions.create(**asked)
    several = len(asked["prompt"]) if isinstance(asked["prompt"], list) and asked["prompt"] != [1, 2, 3] else 1
    assert [choice.index for choice in found.choices] == list(range(several * (asked.get("n") or 1)))
    assert found.usage is not None


def test_a_character_is_never_cut_nor_broken(client: openai.OpenAI, http: httpx2.Client) -> None:
    """The base writes these byte by byte, and here some that form no character: the text ends before them."""
    for size in range(1, 9):
        body: dict[str, Any] = {"prompt": 'msg = "你好', "max_tokens": size}
        whole = client.completions.create(model="base", **body).choices[0].text
        parts = [part["choices"][0]["text"] for part in events(http, {**body, "model": "base"})]
        assert "\ufffd" not in whole == "".join(parts)
        ours = http.post("/complete", json={"prefix": body["prompt"], "suffix": '"\n', "max_tokens": size}).json()
        assert "\ufffd" not in ours["choices"][0]["text"]
        infill = {"input_prefix": body["prompt"], "input_suffix": '"\n', "n_predict": size}
        assert "\ufffd" not in http.post("/infill", json=infill).json()["content"]


FOREIGN = {
    "qwen": "<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>",
    "qwen-file": "<|repo_name|>r\n<|file_sep|>a\nx\n<|file_sep|>b\n<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>",
    "qwen-suffix-first": "<|fim_prefix|><|fim_suffix|>S<|fim_middle|>P",
    "santacoder": "<fim-prefix>P<fim-suffix>S<fim-middle>",
    "seed-coder": "<[fim-suffix]>S<[fim-prefix]>P<[fim-middle]>",
    "deepseek": "<\uff5cfim\u2581begin\uff5c>P<\uff5cfim\u2581hole\uff5c>S<\uff5cfim\u2581end\uff5c>",
    "codellama": "<PRE> P <SUF>S <MID>",
    "codestral": "<s>[SUFFIX]S[PREFIX]P",
}  # fmt: skip


@pytest.mark.parametrize("written", FOREIGN.values(), ids=FOREIGN)
def test_a_prompt_for_another_family_is_answered_as_a_suggestion(written: str, http: httpx2.Client) -> None:
    before, after = LINES + "item_12 = make", "\n"
    prompt = "".join(
        {"P": before, "S": after}.get(part, part) for part in re.split("(?<![A-Z])([PS])(?![A-Z])", written)
    )
    ours = http.post("/complete", json={"prefix": before, "suffix": after}).json()
    theirs = http.post("/v1/completions", json={"prompt": prompt}).json()
    assert theirs["choices"][0]["text"] == ours["choices"][0]["text"] != ""
    assert theirs["usage"]["prompt_tokens"] == ours["usage"]["prompt_tokens"]


def test_streams_of_prompts_for_other_families(http: httpx2.Client) -> None:
    prompt = f"<|fim_prefix|>{LINES}item_12 = make<|fim_suffix|>\n<|fim_middle|>"
    assert "".join(part["choices"][0]["text"] for part in events(http, {"prompt": prompt})).startswith("_item")


@pytest.mark.parametrize(
    ("prompt", "more"),
    [
        ("<fim_prefix>a<fim_suffix>b<fim_middle>", {}),
        ("<|fim_prefix|>a<|fim_suffix|>b", {}),
        ("<|fim_suffix|>b<|fim_middle|>a<|fim_prefix|>", {}),
        ("<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>c<|fim_middle|>", {}),
        ("see [SUFFIX] and [PREFIX]", {}),
        ("<fim_prefix>x = '<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>'<fim_suffix>c<fim_middle>", {}),
        ("<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", {"echo": True}),
        ("<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", {"logprobs": 1}),
    ],
)
def test_prompts_that_stay_as_they_are(prompt: str, more: dict[str, Any], exact: Loaded) -> None:
    assert wanted(exact, True, prompt, **more) is None


def test_prompts_for_other_families_with_the_option_off(exact: Loaded) -> None:
    prompt = "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    found = wanted(exact, True, prompt, stop=["x"])
    assert found is not None
    assert (found.prefix, found.suffix, found.stop) == ("a", "b", ("x",))
    assert wanted(exact, False, prompt) is None
    quoting = wanted(exact, True, "<|fim_prefix|>x = '<fim_prefix><fim_suffix>'<|fim_suffix|>b<|fim_middle|>")
    assert quoting is not None
    assert quoting.prefix == "x = '<fim_prefix><fim_suffix>'"


def wanted(loaded: Loaded, foreign_prompts: bool, prompt: str, **more: Any) -> CompleteRequest | None:
    """The suggestion that a server over this base makes of a prompt."""
    backend, config = SimpleNamespace(tokenizer=loaded.tokenizer), ServiceConfig(foreign_prompts=foreign_prompts)
    service: Any = SimpleNamespace(backend=backend, config=config)
    return completions.suggestion(service, CompletionRequest(prompt=prompt, **more))


@pytest.mark.parametrize("as_ids", [False, True])
def test_a_raw_prompt_that_is_too_long_is_cut_away_from_the_cursor(
    client: openai.OpenAI, exact: Loaded, source: str, as_ids: bool
) -> None:
    prompt = f"<fim_prefix>{source}item = make<fim_suffix>\n{source}<fim_middle>"
    ids, tokenizer = exact.tokenizer.encode_marked(prompt), exact.tokenizer
    assert len(ids) > 1024
    kept = shorten(ids, 1024 - 8, exact.fim, tokenizer.encode_marked, tokenizer.decode)
    assert kept is not None
    sent = ids if as_ids else prompt
    found = client.completions.create(model="base", prompt=sent, max_tokens=8)
    expected = list(Engine(TorchRunner(exact), 1 << 24).generate(Job(kept, 8, exact.fim.stops, GREEDY)))
    assert found.choices[0].text == tokenizer.decode(expected)
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(kept)
    with pytest.raises(openai.UnprocessableEntityError, match="send less of it"):
        client.completions.create(model="base", prompt=sent, max_tokens=8, echo=True)


def test_as_continue_fills_it(http: httpx2.Client) -> None:
    """Its `openai` provider for autocompletion: a raw prompt by the template for StarCoder, many stops, a stream."""
    stops = [
        "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<|endoftext|>", "</fim_middle>", "</code>",
        "/src/", "#- coding: utf-8", "```", "\ndef", "\nclass", '\n"""#',
    ]  # fmt: skip
    prompt = f"<fim_prefix>{LINES}item_12 = make<fim_suffix>\n<fim_middle>"
    body = {
        "model": "starling", "prompt": prompt, "max_tokens": 4096, "temperature": 0.01, "stop": stops,
        "raw": True, "frequency_penalty": None, "presence_penalty": None,
    }  # fmt: skip
    text = "".join(part["choices"][0]["text"] for part in events(http, body))
    assert text
    assert not any(stop in text for stop in stops)


def test_as_minuet_and_zed_fill_it(http: httpx2.Client) -> None:
    minuet = {
        "model": "starling", "prompt": LINES + "item_12 = make", "suffix": "\n", "max_tokens": 56, "top_p": 0.9,
    }  # fmt: skip
    assert "".join(part["choices"][0]["text"] for part in events(http, minuet)).startswith("_item")
    zed = {
        "model": "starling", "prompt": f"<fim_prefix>{LINES}item_12 = make<fim_suffix>\n<fim_middle>",
        "max_tokens": 64, "temperature": 0.2, "stop": ["<|endoftext|>"], "stream": False,
    }  # fmt: skip
    answer = http.post("/v1/completions", json=zed).json()
    assert answer["choices"][0]["text"]
    assert "<" not in answer["choices"][0]["text"]
