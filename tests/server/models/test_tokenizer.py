"""A remembered line changes no id."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from starling_server.backends.torch.loading import Loaded
from starling_server.models.tokenizer import by_lines

ROOT = Path(__file__).parents[3]
TEXT = st.text(st.sampled_from("ab(1_ \t\n\r\x0c\u00e9\u2028\u4e2d\U0001f600'\"<|>"), max_size=60)


@pytest.fixture(scope="module")
def theirs(tiny: Loaded) -> Any:
    """transformers' tokenizer of the bundled base."""
    return AutoTokenizer.from_pretrained(tiny.base.path)


def test_every_file_of_ours(tiny: Loaded, theirs: Any) -> None:
    for path in [*ROOT.glob("*/*/*.py"), *ROOT.glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        whole = theirs(text, add_special_tokens=False, split_special_tokens=True).input_ids
        assert tiny.tokenizer.encode(text) == tiny.tokenizer.encode(text) == whole


@settings(max_examples=500)
@given(TEXT)
def test_any_text(tiny: Loaded, theirs: Any, text: str) -> None:
    whole = theirs(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert tiny.tokenizer.encode(text) == whole


def test_a_tokenizer_that_merges_across_lines_is_asked_for_the_whole() -> None:
    asked = list[str]()

    def encode(text: str) -> list[int]:
        asked.append(text)
        return [len(text)]

    by_lines(encode)("a\nb", "")
    assert asked[-1] == "a\nb"
