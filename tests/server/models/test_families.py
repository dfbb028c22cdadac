"""Every family's prompts, by hand from the published formats: on its own tokens, and on published vocabularies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import random_bases, vocabularies

from starling_server.errors import BaseModelError
from starling_server.models.families import table as families
from starling_server.models.families.family import PreTokenizer, Spelling
from starling_server.models.tokenizer import FileTokenizer
from starling_server.prompt.fim import Example, Fim

BEFORE, MIDDLE, AFTER = "def add(a, b):\n    return", " a + b", "\n\n\nprint(add(1, 234))\n"


@dataclass(frozen=True, slots=True)
class Published:
    """What is known of a base."""

    model_type: str
    spelling: Spelling
    prompt: str
    """Of the bare base."""
    taught: str
    """Of an adapter in the other order, or the same prompt."""
    end: str
    header: str
    """A repository `r` with a file `f.py` that holds `x = 1`."""
    stops: tuple[str, ...] = ()


STARCODER_SPM = f"<fim_prefix><fim_suffix>{AFTER}<fim_middle>{BEFORE}"
STARCODER_PSM = f"<fim_prefix>{BEFORE}<fim_suffix>{AFTER}<fim_middle>"
STARCODER_FILE = "<reponame>r<filename>f.py\nx = 1\n"
QWEN_PSM = f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>"
QWEN_SPM = f"<|fim_prefix|><|fim_suffix|>{AFTER}<|fim_middle|>{BEFORE}"
QWEN_FILE = "<|repo_name|>r\n<|file_sep|>f.py\nx = 1\n"
DEEPSEEK_PSM = f"<｜begin▁of▁sentence｜><｜fim▁begin｜>{BEFORE}<｜fim▁hole｜>{AFTER}<｜fim▁end｜>"
DEEPSEEK_SPM = f"<｜begin▁of▁sentence｜><｜fim▁begin｜><｜fim▁hole｜>{AFTER}<｜fim▁end｜>{BEFORE}"

PUBLISHED = {
    "starcoder": Published(
        "gpt_bigcode", families.STARCODER, STARCODER_SPM, STARCODER_PSM, "<|endoftext|>", STARCODER_FILE,
        ("<filename>", "<reponame>"),
    ),
    "starcoder2": Published(
        "starcoder2", families.STARCODER2.spellings[0], STARCODER_SPM, STARCODER_PSM, "<|endoftext|>",
        "<repo_name>r<file_sep>f.py\nx = 1\n", ("<file_sep>", "<repo_name>"),
    ),
    "qwen2.5-coder": Published(
        "qwen2", families.QWEN, QWEN_PSM, QWEN_SPM, "<|endoftext|>", QWEN_FILE, ("<|file_sep|>", "<|repo_name|>")
    ),
    "seed-coder": Published(
        "llama", families.SEED_CODER,
        f"<[fim-suffix]>{AFTER}<[fim-prefix]>{BEFORE}<[fim-middle]>",
        f"<[fim-suffix]>{AFTER}<[fim-prefix]>{BEFORE}<[fim-middle]>", "<[end▁of▁sentence]>", "x = 1\n",
    ),
    "mellum": Published(
        "llama", families.MELLUM,
        f"<fim_suffix>{AFTER}<fim_prefix>{BEFORE}<fim_middle>",
        f"<fim_suffix>{AFTER}<fim_prefix>{BEFORE}<fim_middle>", "<|endoftext|>", "<filename>f.py\nx = 1\n",
        ("<filename>",),
    ),
    "granite-code": Published(
        "llama", families.STARCODER, STARCODER_SPM, STARCODER_PSM, "<|endoftext|>", STARCODER_FILE, ("<filename>",)
    ),
    "deepseek-coder": Published(
        "llama", families.DEEPSEEK_CODER, DEEPSEEK_PSM, DEEPSEEK_SPM, "<｜end▁of▁sentence｜>", "x = 1\n"
    ),
    "codestral": Published(
        "mistral", families.CODESTRAL, f"<s>[SUFFIX]{AFTER}[PREFIX]{BEFORE}", f"<s>[SUFFIX]{AFTER}[PREFIX]{BEFORE}",
        "</s>", "x = 1\n",
    ),
    "codegemma": Published(
        "gemma", families.CODEGEMMA, f"<bos><|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>",
        f"<bos><|fim_prefix|><|fim_suffix|>{AFTER}<|fim_middle|>{BEFORE}", "<|file_separator|>", "x = 1\n",
    ),
}  # fmt: skip


def written(tokenizer: FileTokenizer, fim: Fim) -> tuple[str, str, Example]:
    """The prompts in both orders as text, and the example in the served order."""
    before, middle, after = map(tokenizer.encode, (BEFORE, MIDDLE, AFTER))
    other = "psm" if fim.order == "spm" else "spm"
    taught = fim.prompt(before, after, other if other in fim.learnt or fim.order == "psm" else fim.order)
    return tokenizer.decode(fim.prompt(before, after)), tokenizer.decode(taught), fim.example(before, middle, after)


def format_of(name: str, folder: Path) -> tuple[Published, FileTokenizer, Fim]:
    """A published format, with a small tokenizer that spells its tokens."""
    of = PUBLISHED[name]
    random_bases.write_tokenizer(folder, of.spelling)
    tokenizer = FileTokenizer(folder / "tokenizer.json")
    return of, tokenizer, families.resolve(of.model_type, tokenizer)


def header(spelling: Spelling) -> str:
    """What precedes a file in the prompt, by the row."""
    repository = f"{spelling.repository}r{spelling.repository_end}" if spelling.repository else ""
    return f"{repository}{spelling.file}f.py\nx = 1\n" if spelling.file else "x = 1\n"


@pytest.mark.parametrize("name", PUBLISHED)
def test_prompts_are_the_published_ones(name: str, tmp_path: Path) -> None:
    of, tokenizer, fim = format_of(name, tmp_path)
    prompt, taught, example = written(tokenizer, fim)
    assert (prompt, taught) == (of.prompt, of.taught)
    assert tokenizer.decode(example.ids) == prompt + MIDDLE + of.end
    assert example.prompt_tokens <= len(tokenizer.encode(BEFORE)) + len(tokenizer.encode(AFTER)) + fim.sentinels
    assert families.spelling(of.model_type, tokenizer) is of.spelling
    assert header(of.spelling) == of.header
    assert {tokenizer.special_id(stop) for stop in (of.end, *of.stops)} - {None} <= fim.stops


@pytest.mark.parametrize("name", PUBLISHED)
def test_special_tokens_in_a_text_are_text_though_nothing_marks_them(name: str, tmp_path: Path) -> None:
    """Qwen's and DeepSeek's own files call theirs ordinary added tokens."""
    of, tokenizer, fim = format_of(name, tmp_path)
    for token in (*of.spelling.sentinels, *of.spelling.stops):
        text = f"say({token!r})\n{token} e\u0301"
        assert not set(tokenizer.encode(text)) & fim.stops
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_marked(of.spelling.prefix) == [fim.prefix]


def test_the_text_filter_spares_what_ordinary_text_holds() -> None:
    assert not {"</s>", "<s>", "<pad>", "<bos>", "<eos>", "[PREFIX]", "<filename>"} & families.TEXT_SENTINELS
    assert {"<|file_sep|>", "<|im_end|>", "<[fim-middle]>", "<file_sep>", "<fim_pad>"} <= families.TEXT_SENTINELS


@dataclass(frozen=True, slots=True)
class Real:
    """A published vocabulary, and the ids of the special tokens as the bases' own files list them."""

    file: str
    split: PreTokenizer
    ids: Mapping[str, int]
    normalizer: str | None = None
    named: Mapping[int, str] = field(default_factory=dict[int, str])
    """Tokens that the file has no names for, from the base's tokenizer.json."""


STARCODER_IDS = {"<|endoftext|>": 0, "<fim_prefix>": 1, "<fim_middle>": 2, "<fim_suffix>": 3, "<fim_pad>": 4}
QWEN_NAMES = {
    151659: "<|fim_prefix|>", 151660: "<|fim_middle|>", 151661: "<|fim_suffix|>", 151662: "<|fim_pad|>",
    151663: "<|repo_name|>", 151664: "<|file_sep|>",
}  # fmt: skip
REAL = {
    "starcoder": Real("refact", families.BIGCODE_SPLITS[0], STARCODER_IDS | {"<filename>": 5, "<reponame>": 18}),
    "starcoder2": Real("starcoder", families.BIGCODE_SPLITS[0], STARCODER_IDS | {"<repo_name>": 5, "<file_sep>": 6}),
    "granite-code": Real("refact", families.BIGCODE_SPLITS[0], STARCODER_IDS),
    "qwen2.5-coder": Real(
        "qwen2", families.QWEN2_SPLIT,
        {name: number for number, name in QWEN_NAMES.items()} | {"<|endoftext|>": 151643, "<|im_end|>": 151645},
        "NFC", QWEN_NAMES,
    ),
    "deepseek-coder": Real(
        "deepseek-coder", families.DEEPSEEK_SPLIT,
        {
            "<｜begin▁of▁sentence｜>": 32013, "<｜end▁of▁sentence｜>": 32014, "<｜fim▁hole｜>": 32015,
            "<｜fim▁begin｜>": 32016, "<｜fim▁end｜>": 32017, "<|EOT|>": 32021,
        },
    ),
}  # fmt: skip
STARCODER_TEXT = (
    [589, 1015, 26, 83, 30, 323, 711, 284, 442], [312, 474, 323],
    [478, 203, 1216, 26, 669, 26, 35, 30, 225, 36, 37, 38, 490, 203],
)  # fmt: skip
GOLDEN: dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]] = {
    "starcoder": STARCODER_TEXT,
    "granite-code": STARCODER_TEXT,
    "starcoder2": (
        [610, 1035, 45, 102, 49, 342, 731, 303, 461], [331, 494, 342],
        [499, 222, 1243, 45, 688, 45, 54, 49, 244, 55, 56, 57, 509, 222],
    ),
    "qwen2.5-coder": (
        [750, 912, 2877, 11, 293, 982, 262, 470], [264, 488, 293],
        [1406, 1350, 25906, 7, 16, 11, 220, 17, 18, 19, 1171],
    ),
    "deepseek-coder": (
        [1551, 957, 7, 64, 11, 270, 1772, 185, 315, 967], [245, 945, 270],
        [185, 185, 185, 4128, 7, 1761, 7, 16, 11, 207, 17, 18, 19, 1435, 185],
    ),
}  # fmt: skip
"""Ids of the text before the cursor, of the middle, and of the text after it."""


def real(name: str, folder: Path) -> FileTokenizer:
    """The tokenizer of a published vocabulary."""
    of = REAL[name]
    vocabularies.write(folder, of.file, of.split, of.named, of.normalizer)
    return FileTokenizer(folder / "tokenizer.json")


@pytest.mark.parametrize("name", REAL)
def test_ids_on_the_published_vocabulary(name: str, tmp_path: Path) -> None:
    """The ids of the parts are golden, and llama.cpp's own test file agrees on what the vocabulary makes of text."""
    tokenizer, of = real(name, tmp_path), PUBLISHED[name]
    fim = families.resolve(of.model_type, tokenizer)
    before, middle, after = GOLDEN[name]
    assert [tokenizer.encode(text) for text in (BEFORE, MIDDLE, AFTER)] == [before, middle, after]
    prompt, taught, example = written(tokenizer, fim)
    assert (prompt, taught) == (of.prompt, of.taught)
    assert tokenizer.encode_marked(prompt + MIDDLE + of.end) == example.ids, "parts join as the whole text does"
    assert {token: tokenizer.special_id(token) for token in REAL[name].ids} == REAL[name].ids
    assert {REAL[name].ids[stop] for stop in (of.end, *of.stops) if stop in REAL[name].ids} <= fim.stops
    for text, ids in vocabularies.expected(REAL[name].file):
        assert tokenizer.encode(text) == ids


def test_a_vocabulary_without_such_tokens_is_refused(tmp_path: Path) -> None:
    random_bases.write_tokenizer(tmp_path, families.QWEN)
    tokenizer = FileTokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(BaseModelError, match=r"no fill-in-the-middle tokens .*Qwen2\.5-Coder"):
        families.resolve("llama", tokenizer)
