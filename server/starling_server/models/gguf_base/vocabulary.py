"""From a GGUF file's vocabulary to a tokenizer.json: byte-level BPE under one of the families' pre-tokenizers."""

from collections.abc import Mapping, Sequence
from typing import Any

from starling_server.errors import BaseModelError
from starling_server.models.families import table as families
from starling_server.models.families.family import PreTokenizer, Spelling
from starling_server.untrusted import shown

KEY = "tokenizer.ggml."
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
"""Types of tokens that merges do not make."""
BYTE_LEVEL = "gpt2"
OTHERS = {"llama": "SentencePiece", "bert": "WordPiece", "t5": "Unigram", "rwkv": "RWKV", "plamo2": "PLaMo"}
ALIKE = {
    "refact": "starcoder", "command-r": "starcoder", "smollm": "starcoder", "codeshell": "starcoder",
    "mellum": "gpt-2", "llama3": "llama-bpe", "llama-v3": "llama-bpe", "stablelm2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
}  # fmt: skip
"""Names that llama.cpp gives to the same way of splitting (src/llama-vocab.cpp)."""
Fields = Mapping[str, Any]


class Names:
    """Special ids by name, as `families.resolve` wants them."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._ids = {token: number for number, token in enumerate(tokens)}

    def special_id(self, token: str) -> int | None:
        """Id of a token by its literal spelling."""
        return self._ids.get(token)


def tokens(name: str, fields: Fields) -> list[str]:
    """The tokens by id; raises BaseModelError for a vocabulary that is not byte-level BPE, or is damaged."""
    model: Any = fields.get(f"{KEY}model")
    words: Any = fields.get(f"{KEY}tokens")
    if model != BYTE_LEVEL:
        kind = "no tokenizer" if model is None else f"a {OTHERS.get(str(model), shown(model))} tokenizer"
        raise BaseModelError(
            f"Base {name!r} has {kind}, and only byte-level BPE is supported: take a base such as Qwen2.5-Coder, "
            "StarCoder2 or Seed-Coder."
        )
    kinds: Any = fields.get(f"{KEY}token_type")
    merges: Any = fields.get(f"{KEY}merges")
    is_whole = isinstance(words, list) and words and isinstance(merges, list)
    if not is_whole or not (kinds is None or (isinstance(kinds, list) and len(kinds) == len(words))):
        raise BaseModelError(f"Base {name!r} has a damaged vocabulary: download it again.")
    return words


def tokenizer(name: str, fields: Fields, written: Spelling) -> dict[str, Any]:
    """The content of tokenizer.json, with the special tokens of `written` also where the file calls them text.

    Raises BaseModelError for a way of splitting that no family has.
    """
    words, split = tokens(name, fields), _split(name, fields)
    special = {*written.sentinels, *written.stops}
    kinds = fields.get(f"{KEY}token_type", [1] * len(words))
    added = [
        {
            "id": number, "content": word, "special": kind == CONTROL or word in special,
            "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        }
        for number, (word, kind) in enumerate(zip(words, kinds, strict=True))
        if kind in (CONTROL, USER_DEFINED) or word in special
    ]  # fmt: skip
    parts = [{"trim_offsets": False, "invert": False, **part} for part in split.parts]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": split.ignore_merges,
            "vocab": {word: number for number, word in enumerate(words)},  # also what is added: else it gets new ids
            "merges": fields[f"{KEY}merges"],
        },
    }  # fmt: skip


def _split(name: str, fields: Fields) -> PreTokenizer:
    known = {
        split.name: split for row in families.FAMILIES.values() if row.gguf is not None
        for split in row.gguf.pre_tokenizers
    }  # fmt: skip
    pre = fields.get(f"{KEY}pre")
    split = known.get(ALIKE.get(str(pre), str(pre)))
    if split is None:
        what = "does not say how it splits text" if pre is None else f"splits text as {shown(pre)!r}"
        raise BaseModelError(
            f"Base {name!r} {what}, and supported are {', '.join(sorted({*known, *ALIKE}))}: take a newer conversion "
            "of it, or another base."
        )
    return split
