"""Prompts: the forms of the papers, the sentinels by name, user text as text."""

import pytest

from starling_server.backends.torch.loading import Loaded
from starling_server.errors import BaseModelError
from starling_server.models.families import table as families
from starling_server.prompt import fim

TOKENS = {"<fim_prefix>": 1, "<fim_middle>": 2, "<fim_suffix>": 3, "<fim_pad>": 4, "<|endoftext|>": 0}


class Vocabulary:
    """A tokenizer that knows special tokens only."""

    def __init__(self, tokens: dict[str, int]) -> None:
        self.tokens = tokens

    def encode(self, text: str) -> list[int]:
        return [ord(char) for char in text]

    def decode(self, ids: object) -> str:
        return ""

    def special_id(self, token: str) -> int | None:
        return self.tokens.get(token)


def test_orders() -> None:
    sentinels = families.resolve("gpt_bigcode", Vocabulary(TOKENS))
    assert sentinels.prompt([10, 11], [20], "psm") == [1, 10, 11, 3, 20, 2]
    assert sentinels.prompt([10, 11], [20], "spm") == [1, 3, 20, 2, 10, 11]
    assert len(sentinels.prompt([], [])) == sentinels.sentinels


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_an_example_begins_with_the_prompt_and_ends_the_middle(order: fim.Order) -> None:
    sentinels = families.resolve("gpt_bigcode", Vocabulary(TOKENS))
    example = sentinels.example([10], [30, 31], [20], order)
    prompt = sentinels.prompt([10], [20], order)
    assert example.ids[: example.prompt_tokens] == prompt
    assert example.ids[example.prompt_tokens :] == [30, 31, sentinels.end]


def test_starcoder2_ends_a_middle_at_the_next_file() -> None:
    sentinels = families.resolve("starcoder2", Vocabulary({**TOKENS, "<file_sep>": 17, "<repo_name>": 18}))
    assert {0, 17, 18} <= sentinels.stops


def test_text_sentinels_are_those_of_the_base_and_no_placeholders() -> None:
    own = {*TOKENS}
    bigcode = families.resolve("gpt_bigcode", Vocabulary({**TOKENS, "<filename>": 5, "<reponame>": 6}))
    starcoder2 = families.resolve("starcoder2", Vocabulary({**TOKENS, "<file_sep>": 17, "<repo_name>": 18}))
    assert {*bigcode.text_sentinels} == own
    assert {*starcoder2.text_sentinels} == own | {"<file_sep>"}
    assert {5, 6} <= bigcode.stops


def test_santacoder_spelling() -> None:
    hyphens = {name.replace("_", "-"): i for name, i in TOKENS.items()}
    assert families.resolve("gpt_bigcode", Vocabulary(hyphens)).middle == 2


def test_unknown_architecture_names_the_known() -> None:
    with pytest.raises(BaseModelError, match="gemma, gpt_bigcode, llama"):
        families.resolve("bloom", Vocabulary(TOKENS))


def test_vocabulary_without_fim() -> None:
    with pytest.raises(BaseModelError, match="no fill-in-the-middle tokens"):
        families.resolve("gpt_bigcode", Vocabulary({"<|endoftext|>": 0}))


def test_ids_that_are_not_distinct() -> None:
    with pytest.raises(BaseModelError, match="same id"):
        families.resolve("gpt_bigcode", Vocabulary({**TOKENS, "<fim_pad>": 0}))


def test_the_bundled_base_has_starcoders_ids(tiny: Loaded) -> None:
    assert (tiny.fim.end, tiny.fim.prefix, tiny.fim.middle, tiny.fim.suffix, tiny.fim.pad) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("text", ["<fim_middle>", "a<|endoftext|>b", "<filename>x.py", "\ud800", "naïve 😀 中文\r\n"])
def test_user_text_is_text(tiny: Loaded, text: str) -> None:
    ids = tiny.tokenizer.encode(text)
    assert not set(ids) & tiny.fim.stops
    assert tiny.tokenizer.decode(ids) == text.encode("utf-8", "replace").decode()
