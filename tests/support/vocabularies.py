"""Published vocabularies as tokenizer.json files, from llama.cpp's `models/ggml-vocab-NAME.gguf`.

They are in the source package of llama-cpp-python (`pip download --no-deps --no-binary llama-cpp-python
llama-cpp-python`, folder vendor/llama.cpp/models) and belong into `PLACE`. Tests that read them skip without.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from starling_server.models.family import PreTokenizer

PLACE = Path.home() / ".cache" / "starling" / "real-bases" / "vocabularies"
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
Fields = Mapping[str, Any]


def fields(name: str) -> Fields:
    """The keys of a vocabulary file; skips the test where it is not on this disk."""
    path = PLACE / f"ggml-vocab-{name}.gguf"
    if not path.is_file():
        pytest.skip(f"{path} is not on this disk")
    from gguf import GGUFReader

    return {field.name.removeprefix("tokenizer.ggml."): field.contents() for field in GGUFReader(path).fields.values()}


def write(folder: Path, name: str, split: PreTokenizer, renamed: Mapping[int, str], normalizer: str | None) -> Path:
    """`folder`/tokenizer.json of the vocabulary `name`; `renamed` are tokens that the file has no names for."""
    read = fields(name)
    tokens: list[str] = [renamed.get(number, token) for number, token in enumerate(read["tokens"])]
    added = [
        {
            "id": number, "content": token, "special": kind == CONTROL, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False,
        }
        for number, (token, kind) in enumerate(zip(tokens, read["token_type"], strict=True))
        if kind in (CONTROL, USER_DEFINED) and not token.startswith("[PAD")
    ]  # fmt: skip
    named = {token["content"] for token in added}
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
            "vocab": {token: number for number, token in enumerate(tokens) if token not in named},
            "merges": read["merges"],
        },
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
