"""A remembered line changes no id."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import random_bases
from transformers import AutoTokenizer

from starling_server.backends.torch.loading import Loaded
from starling_server.models import families
from starling_server.models.tokenizer import FileTokenizer, by_lines

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


SPLITS = (families.QWEN2_SPLIT, families.LLAMA3_SPLIT, families.SEED_SPLIT, families.DEEPSEEK_SPLIT)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[FileTokenizer]:
    """The bundled vocabulary under other families' rules; Qwen's join punctuation with the newlines behind it."""
    made = list[FileTokenizer]()
    for split in SPLITS:
        folder = tmp_path_factory.mktemp(split.name)
        random_bases.write_tokenizer(folder, families.QWEN, split)
        made.append(FileTokenizer(folder / "tokenizer.json"))
    return made


def test_lines_are_cached_under_every_rule(others: list[FileTokenizer], source: str) -> None:
    """The ids are those of the whole text, and a key encodes its own line again, not the document."""
    for tokenizer in others:
        assert tokenizer.encode(source) == tokenizer._encode_whole(source)  # pyright: ignore[reportPrivateUsage]
        asked = list[str]()
        with pytest.MonkeyPatch.context() as patch:
            cache: Any = tokenizer._encode  # pyright: ignore[reportPrivateUsage]
            patch.setattr(cache.__self__, "_encode", lambda text, asked=asked: asked.append(text) or [])
            tokenizer.encode(source + "x")
        assert len(asked) <= 2
        assert sum(map(len, asked)) < 200


@settings(max_examples=500)
@given(TEXT)
def test_any_text_under_every_rule(others: list[FileTokenizer], text: str) -> None:
    for tokenizer in others:
        assert tokenizer.encode(text) == tokenizer._encode_whole(text)  # pyright: ignore[reportPrivateUsage]


def test_a_tokenizer_that_merges_across_lines_is_asked_for_the_whole() -> None:
    asked = list[str]()

    def encode(text: str) -> list[int]:
        asked.append(text)
        return [len(text)]

    by_lines(encode)("a\nb", "")
    assert asked[-1] == "a\nb"
