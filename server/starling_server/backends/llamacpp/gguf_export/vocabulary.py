"""Converts a base's tokenizer.json to llama.cpp's vocabulary: byte-level BPE, pre-tokenizer, special ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter, TokenType

from starling_server import untrusted
from starling_server.errors import BaseModelError
from starling_server.models import tokenizer
from starling_server.models.bases import TOKENIZER_BYTES, Base
from starling_server.models.families import table as families
from starling_server.models.families.family import Spelling
from starling_server.prompt.fim import Fim
from starling_server.untrusted import shown

PLAIN = {"dropout": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "byte_fallback": False}
"""Settings of a BPE model and the values that llama.cpp assumes; None and "" are the same."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Everything that llama.cpp needs to turn text into ids and back."""

    tokens: list[str]
    """By id; bytes as GPT-2 spells them. Ids that only the weights have are named `[PAD7]` and so on."""
    types: list[TokenType]
    merges: list[str]
    pre: str
    """The pre-tokenizer's name in llama.cpp."""
    ids: dict[str, int]
    """By token."""
    fim: Fim
    spelling: Spelling

    @property
    def begin(self) -> int:
        """The token that begins every prompt; the end of text where a family has none."""
        return self.fim.end if self.spelling.begin is None else self.ids[self.spelling.begin]

    def write(self, writer: GGUFWriter) -> None:
        """Add llama.cpp's keys."""
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        writer.add_token_merges(self.merges)
        writer.add_bos_token_id(self.begin)
        writer.add_eos_token_id(self.fim.end)
        writer.add_unk_token_id(self.fim.end)
        writer.add_pad_token_id(self.fim.pad)
        writer.add_add_bos_token(self.spelling.begin is not None)
        writer.add_add_eos_token(False)
        writer.add_add_space_prefix(False)
        for key, token in self._infill():
            writer.add_uint32(f"tokenizer.ggml.fim_{key}_token_id", token)

    def _infill(self) -> list[tuple[str, int]]:
        """llama.cpp's keys for fill-in-the-middle. Pad, repository and file tokens end its text as they end ours."""
        named = [("pre", self.fim.prefix), ("suf", self.fim.suffix), ("mid", self.fim.middle)]
        further = (("pad", self.spelling.pad), ("rep", self.spelling.repository), ("sep", self.spelling.file))
        return named + [(key, self.ids[name]) for key, name in further if name is not None and name in self.ids]


@dataclass(frozen=True, slots=True)
class _Names:
    """Special ids by name, for `families.resolve`."""

    ids: dict[str, int]

    def special_id(self, token: str) -> int | None:
        """Id of a special token by its literal spelling."""
        return self.ids.get(token)


def of(base: Base) -> Vocabulary:
    """The vocabulary of `base`; raises BaseModelError for a damaged or, in llama.cpp, unsupported tokenizer."""
    try:
        read = untrusted.parsed(untrusted.read(base.path / "tokenizer.json", TOKENIZER_BYTES))
        pre = _pre_tokenizer(base, read)
        ids = dict[str, int](read["model"]["vocab"])
        added = {token["content"]: token for token in read["added_tokens"]}
        merges = [_merge(pair) for pair in read["model"]["merges"]]
        ids |= {name: token["id"] for name, token in added.items()}
        kinds = {token["id"]: _kind(token) for token in added.values()}
        by_id = {number: token for token, number in ids.items()}
        if not all(type(number) is int for number in by_id):
            raise ValueError("an id is no number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseModelError(
            f"The tokenizer of base {base.id!r} cannot be read ({shown(error)}): download the base again."
        ) from error
    count = base.config["vocab_size"]
    names = _Names(ids)
    sentinels = families.resolve(base.model_type, names)
    if max(sentinels.stops) >= count:
        raise BaseModelError(
            f"The tokenizer of base {base.id!r} has FIM tokens that its weights do not have: choose another base."
        )
    return Vocabulary(
        tokens=[by_id.get(number, f"[PAD{number}]") for number in range(count)],
        types=[kinds.get(number, TokenType.NORMAL if number in by_id else TokenType.UNUSED) for number in range(count)],
        merges=merges,
        pre=pre,
        ids=ids,
        fim=sentinels,
        spelling=families.spelling(base.model_type, names),
    )


def _pre_tokenizer(base: Base, read: dict[str, Any]) -> str:
    model = read["model"]
    plain = model["type"] == "BPE" and all((model.get(name) or empty) == empty for name, empty in PLAIN.items())
    terms, normalizer = base.family.gguf, read.get("normalizer") or {}
    if plain and terms is not None and normalizer.get("type") in (None, *tokenizer.DROPPED):
        top = read["pre_tokenizer"]
        parts: Sequence[dict[str, Any]] = top["pretokenizers"] if top["type"] == "Sequence" else [top]
        for known in terms.pre_tokenizers:
            alike = known.ignore_merges == bool(model.get("ignore_merges")) and len(known.parts) == len(parts)
            if alike and all(map(_agrees, known.parts, parts)):
                return known.name
    raise BaseModelError(
        f"Base {base.id!r} splits text in a way that llama.cpp has no name for, so it cannot be written as GGUF: "
        "use --merge without --gguf, or --runner torch."
    )


def _agrees(wanted: Mapping[str, object], part: dict[str, Any]) -> bool:
    return all(part.get(name, True) == value for name, value in wanted.items())


def _merge(pair: str | list[str]) -> str:
    """Old files join a pair with a space, new ones keep it as a list; tokens never hold a space (GPT-2 spells it Ġ)."""
    return pair if isinstance(pair, str) else " ".join(pair)


def _kind(token: dict[str, Any]) -> TokenType:
    special = token["special"] or token["content"] in families.SPECIAL
    return TokenType.CONTROL if special else TokenType.USER_DEFINED
