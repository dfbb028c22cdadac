"""Log-probabilities of prompts, with the very requests of lm-evaluation-harness 0.4.13 (`local-completions`)."""

from collections.abc import Generator
from typing import Any

import httpx2
import openai
import pytest

from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner

PAIRS = [
    ("import os\nprint(os.path.", "join('a', 'b'))"),
    ("# 你好\nx = ", "'你好'"),
    ("class A:\n    def __init__(self, x):\n        self.x =", " x"),
]


@pytest.fixture(scope="module")
def client(served: str) -> Generator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def loglikelihood(prompts: list[list[int]] | list[str]) -> dict[str, Any]:
    """What `LocalCompletionsAPI._create_payload` makes for a batch of `loglikelihood` requests."""
    return {
        "model": "base", "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234,
        "echo": True,
    }  # fmt: skip


def parsed(answer: dict[str, Any], begins: list[int]) -> list[tuple[float, bool]]:
    """What `LocalCompletionsAPI.parse_logprobs` makes of an answer: the sum behind the context, and whether greedy."""
    found = list[tuple[float, bool]]()
    for choice, begin in zip(sorted(answer["choices"], key=lambda each: each["index"]), begins, strict=True):
        nats = choice["logprobs"]["token_logprobs"][begin:-1]
        best = choice["logprobs"]["top_logprobs"][begin:-1]
        found.append((sum(nats), all(own == max(top.values()) for own, top in zip(nats, best, strict=True))))
    return found


def test_lm_eval_scores_what_the_model_does(served: str, exact: Loaded) -> None:
    contexts = [exact.tokenizer.encode(context) for context, _ in PAIRS]
    whole = [ids + exact.tokenizer.encode(text) for ids, (_, text) in zip(contexts, PAIRS, strict=True)]
    answer = httpx2.post(f"{served}/v1/completions", json=loglikelihood(whole), timeout=60)
    assert answer.status_code == 200, answer.text
    sums = parsed(answer.json(), [len(ids) for ids in contexts])
    runner = TorchRunner(exact)
    expected = [sum(runner.score(None, ids, len(begin))) for ids, begin in zip(whole, contexts, strict=True)]
    assert [nats for nats, _ in sums] == pytest.approx(expected, abs=1e-3)
    assert [greedy for _, greedy in sums] == [False, False, True]


def test_lm_eval_generates_until_a_text(served: str) -> None:
    body = {
        "prompt": ["x = 1\n" * 3, "import os\n"], "model": "base", "max_tokens": 24, "temperature": 0,
        "stop": ["\n\n", "<|endoftext|>"], "seed": 1234,
    }  # fmt: skip
    answer = httpx2.post(f"{served}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    texts = [choice["text"] for choice in answer.json()["choices"]]
    assert len(texts) == 2
    assert not any("\n\n" in text or "<|endoftext|>" in text for text in texts)


def test_a_prompt_is_scored_without_a_token_more(client: openai.OpenAI, exact: Loaded) -> None:
    text = "import os\nprint(os.path"
    found = client.completions.create(model="base", prompt=text, echo=True, logprobs=2, max_tokens=0).choices[0]
    told, ids = found.logprobs, exact.tokenizer.encode(text)
    assert told is not None
    assert found.text == text == "".join(told.tokens or [])
    assert told.token_logprobs is not None
    assert told.token_logprobs[0] is None
    assert told.token_logprobs[1:] == pytest.approx(TorchRunner(exact).score(None, ids, 1), abs=1e-3)
    assert told.text_offset == [len(exact.tokenizer.decode(ids[:at])) for at in range(len(ids))]
    assert told.top_logprobs is not None
    for token, nats, best in zip(told.tokens or [], told.token_logprobs, told.top_logprobs, strict=True):
        assert nats is None or (best[token] == nats and len(best) in (2, 3))


def test_a_long_prompt_is_scored_in_pieces_and_whole(client: openai.OpenAI, exact: Loaded, source: str) -> None:
    """Up to the whole context, with its beginning in the cache: scores are those of one forward all the same."""
    ids = exact.tokenizer.encode(source)[: TorchRunner(exact).context]
    client.completions.create(model="base", prompt=ids[:300], max_tokens=1)
    found = client.completions.create(model="base", prompt=ids, echo=True, logprobs=0, max_tokens=0).choices[0]
    assert found.logprobs is not None
    assert found.logprobs.token_logprobs is not None
    expected = TorchRunner(exact).score(None, ids, 1)
    assert found.logprobs.token_logprobs[1:] == pytest.approx(expected, abs=1e-3)


def test_tokens_that_are_no_characters_are_spelled_as_bytes(client: openai.OpenAI) -> None:
    found = client.completions.create(model="base", prompt="你", echo=True, logprobs=1, max_tokens=0).choices[0]
    assert found.text == "你"
    assert found.logprobs is not None
    assert found.logprobs.tokens == [rf"bytes:\x{byte:02x}" for byte in "你".encode()]
    assert found.logprobs.text_offset == [0, 0, 0]
