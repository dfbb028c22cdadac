"""Published vocabularies as tokenizer.json files, from llama.cpp's `models/ggml-vocab-NAME.gguf`.

They are in the source package of llama-cpp-python (`pip download --no-deps --no-binary llama-cpp-python
llama-cpp-python`, folder vendor/llama.cpp/models) and belong into `PLACE`. Tests that read them skip without.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from starling_server.models.families.family import PreTokenizer

PLACE = Path.home() / ".cache" / "starling" / "real-bases" / "vocabularies"
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5


def fields(name: str) -> Mapping[str, Any]:
    """Tokens, their types and merges of a vocabulary file; skips the test where it is not on this disk.

    gguf's reader takes up to a minute, so they are kept beside it as JSON.
    """
    path = PLACE / f"ggml-vocab-{name}.gguf"
    if not path.is_file():
        pytest.skip(f"{path} is not on this disk")
    kept = path.with_suffix(".json")
    if not kept.is_file():
        from gguf import GGUFReader

        read = GGUFReader(path).fields
        content = {key: read[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges")}
        kept.write_text(json.dumps(content), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def expected(name: str) -> list[tuple[str, list[int]]]:
    """llama.cpp's test texts, and their ids by the base's own tokenizer."""
    inputs = (PLACE / f"ggml-vocab-{name}.gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    outputs = (PLACE / f"ggml-vocab-{name}.gguf.out").read_text(encoding="utf-8").split("\n")
    return [(text, [int(word) for word in line.split()]) for text, line in zip(inputs, outputs, strict=False)]


def write(folder: Path, name: str, split: PreTokenizer, named: Mapping[int, str], normalizer: str | None) -> Path:
    """`folder`/tokenizer.json of the vocabulary `name`; `named` are tokens that the file has no names for."""
    read = fields(name)
    tokens: list[str] = [named.get(number, token) for number, token in enumerate(read["tokens"])]
    added = [
        {
            "id": number, "content": token, "special": kind == CONTROL, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False,
        }
        for number, (token, kind) in enumerate(zip(tokens, read["token_type"], strict=True))
        if kind in (CONTROL, USER_DEFINED) and not token.startswith("[PAD")
    ]  # fmt: skip
    parts = [{"trim_offsets": False, "invert": False, **part} for part in split.parts]
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": normalizer and {"type": normalizer},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": split.ignore_merges,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": read["merges"],
        },
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
