"""Other files on the wire: `context` of /complete and `input_extra` of /infill, in one block before the suffix."""

import json
from collections.abc import Generator
from typing import Any

import httpx2
import pytest

from starling_server import client
from starling_server.schema import LONGEST_PATH, LONGEST_PIECE, MOST_PIECES, CompleteRequest

CONTEXT = [
    {
        "path": "shop/money.py",
        "text": "def rounded(amount, digits):\n    return round(amount, digits)\n",
        "why": "name",
    },
    {"path": "shop/stock.py", "text": "def reserve(order):\n    return '<fim_middle>'\n"},
]
PREFIX = "".join(f"price_{n} = rounded(prices[{n}], 2)\n" for n in range(20)) + "def total(prices):\n    return "
SUFFIX = "\n\nprint(total(prices))\n"
BLOCK = (
    "<reponame><filename>shop/stock.py\ndef reserve(order):\n    return '<fim_middle>'\n"
    "<filename>shop/money.py\ndef rounded(amount, digits):\n    return round(amount, digits)\n<filename>"
)


@pytest.fixture
def http(served: str) -> Generator[httpx2.Client]:
    with httpx2.Client(base_url=served, timeout=60, trust_env=False) as client:
        yield client


def complete(http: httpx2.Client, **more: Any) -> dict[str, Any]:
    answer = http.post("/complete", json={"prefix": PREFIX, "suffix": SUFFIX, "max_tokens": 4, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_block_goes_before_the_suffix(http: httpx2.Client) -> None:
    """Its special tokens are read as text: the prompt has one `<fim_middle>` more in its text than as a token."""
    with_others, alone = (complete(http, show_prompt=True, context=context) for context in (CONTEXT, []))
    assert with_others["prompt"] == BLOCK + alone["prompt"]
    shown = with_others["pieces"]
    assert [(piece["path"], piece["why"]) for piece in shown] == [("shop/money.py", "name"), ("shop/stock.py", "")]
    assert 20 < sum(piece["tokens"] for piece in shown) < 80
    assert (alone["pieces"], complete(http, context=CONTEXT)["pieces"]) == ([], None)
    assert with_others["repository_tokens"] == 512
    assert with_others["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"] + 30


def test_a_key_still_costs_a_token(http: httpx2.Client) -> None:
    typed = "sum(rounded(price, 2) for price in prices)"
    sizes = [complete(http, prefix=PREFIX + typed[0], max_tokens=1, context=CONTEXT)["usage"]["prompt_tokens"]]
    for end in range(2, len(typed)):
        usage = complete(http, prefix=PREFIX + typed[:end], max_tokens=1, context=CONTEXT)["usage"]
        assert usage["prompt_tokens"] - usage["cached_tokens"] <= 4, typed[:end]
        assert usage["cached_tokens"] >= min(sizes[-1], usage["prompt_tokens"]) - 4, typed[:end]
        sizes.append(usage["prompt_tokens"])


def test_another_block_is_another_question(http: httpx2.Client) -> None:
    """A suggestion that is remembered for one block is not the answer with another."""
    shared = {"session": "context", "show_prompt": True}
    first = complete(http, **shared, context=CONTEXT)
    assert first["prompt"] is not None
    assert complete(http, **shared, context=CONTEXT)["prompt"] is None, "remembered"
    assert complete(http, **shared, context=CONTEXT[:1])["prompt"] is not None


def test_the_block_takes_a_quarter_of_the_prompt_at_most(http: httpx2.Client) -> None:
    many = [{"path": f"f{n}.py", "text": f"name_{n} = {n}\n" * 200} for n in range(MOST_PIECES)]
    usage = complete(http, context=many)["usage"]
    alone = complete(http)["usage"]
    assert 100 < usage["prompt_tokens"] - alone["prompt_tokens"] <= 512


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ([{"text": "a"}] * (MOST_PIECES + 1), "context"),
        ([{"text": "a" * (LONGEST_PIECE + 1)}], "context.0.text"),
        ([{"text": "a"}, {"path": "a" * (LONGEST_PATH + 1), "text": "a"}], "context.1.path"),
        ([{"path": "a.py"}], "context.0.text"),
        ([{"text": "a", "why": "a" * 101}], "context.0.why"),
        ([{"text": "a", "score": 1}], "context.0.score"),
        ("a", "context"),
    ],
)
def test_what_is_too_large_or_wrong_is_named(http: httpx2.Client, context: Any, field: str) -> None:
    answer = http.post("/complete", json={"prefix": "a", "context": context})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{field}: ")


def test_llama_cpps_pieces_go_into_the_same_block(http: httpx2.Client) -> None:
    """There the most important is the last one."""
    extra = [{"text": piece["text"], "filename": piece["path"]} for piece in reversed(CONTEXT)]
    body = {"input_prefix": PREFIX, "prompt": "", "input_suffix": SUFFIX, "n_predict": 4}
    complete(http, context=CONTEXT)
    whole = http.post("/infill", json={**body, "input_extra": extra}).json()
    ours = complete(http, context=CONTEXT)
    assert whole["tokens_evaluated"] == ours["usage"]["prompt_tokens"]
    assert whole["timings"]["prompt_n"] <= 1, "the same prompt was cached"
    torn = '{"input_prefix": "a", "input_extra": [{"text": "\\ud800 = 1", "filename": "\\udfff"}]}'
    answer = http.post("/infill", content=torn.encode(), headers={"content-type": "application/json"})
    assert answer.status_code == 200, "half of a character is a question mark"
    many = [{"text": "x = 1\n" * 2_000}] * (MOST_PIECES + 6)
    assert http.post("/infill", json={**body, "input_extra": many}).status_code == 200, "llama.cpp takes any"


def test_a_client_without_other_files_does_not_name_the_field() -> None:
    """A server of an earlier version refuses fields that it does not know."""
    asked = [CompleteRequest.model_validate({"prefix": "a", "context": context}) for context in ([], CONTEXT)]
    sent = [json.loads(client._body(request, False)) for request in asked]  # pyright: ignore[reportPrivateUsage]
    assert [body.get("context") for body in sent] == [None, [{"why": "", **piece} for piece in CONTEXT]]
