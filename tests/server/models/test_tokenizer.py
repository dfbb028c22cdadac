"""A remembered line changes no id."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import random_bases
from transformers import AutoTokenizer

from starling_server.backends.torch.loading import Loaded
from starling_server.errors import BaseModelError
from starling_server.models.families import table as families
from starling_server.models.families.family import Spelling
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
            patch.setattr(cache.__self__, "_encode", partial(_noted, asked))
            tokenizer.encode(source + "x")
        assert len(asked) <= 2
        assert sum(map(len, asked)) < 200


def _noted(asked: list[str], text: str) -> list[int]:
    asked.append(text)
    return []


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


def sentencepiece(folder: Path, spelling: Spelling) -> Path:
    """A tokenizer.json of Codestral's kind: it puts a blank before a text and drops it when decoding."""
    letters = sorted(set("▁\ndefabnrtu+():,x0123456789"))
    special = list(dict.fromkeys((*spelling.sentinels, *spelling.stops)))
    vocabulary = {token: number for number, token in enumerate((*special, *letters, "▁▁", "de", "def", "▁def"))}
    blank = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    steps = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"}]
    content = {
        "version": "1.0", "truncation": None, "padding": None, "post_processor": None, "pre_tokenizer": None,
        "added_tokens": [
            {
                "id": vocabulary[name], "content": name, "special": True, "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False,
            }
            for name in special
        ],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, blank]},
        "decoder": {
            "type": "Sequence", "decoders": [*steps, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
        },
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": False, "vocab": vocabulary,
            "merges": [["▁", "▁"], ["d", "e"], ["de", "f"], ["▁", "def"]],
        },
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "tokenizer.json"


@pytest.mark.parametrize(("model_type", "spelling"), [("mistral", families.CODESTRAL), ("llama", families.CODELLAMA)])
def test_the_blank_that_sentencepiece_adds_is_left_out(model_type: str, spelling: Spelling, tmp_path: Path) -> None:
    """Parts of a prompt begin within the document, and so does the answer."""
    tokenizer = FileTokenizer(sentencepiece(tmp_path, spelling))
    for text in ("def f", " def", "\n  return x ", "  ", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    fim = families.resolve(model_type, tokenizer)
    before, after = tokenizer.encode("def f(a):\n    return"), tokenizer.encode(" x\n")
    assert tokenizer.decode(tokenizer.encode("def")) == "def"
    written = {
        "mistral": "<s>[SUFFIX] x\n[PREFIX]def f(a):\n    return",
        "llama": "<s> <PRE>def f(a):\n    return <SUF> x\n <MID>",
    }
    assert tokenizer.decode(fim.prompt(before, after)) == written[model_type]


def test_a_tokenizer_that_loses_blanks_is_refused(tmp_path: Path) -> None:
    path = sentencepiece(tmp_path, families.CODESTRAL)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "pre_tokenizer": {"type": "WhitespaceSplit"}}), encoding="utf-8")
    with pytest.raises(BaseModelError, match="does not restore the blanks"):
        FileTokenizer(path)
