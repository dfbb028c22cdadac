"""Prompts for serving and examples for training, both built here.

`example ids = prompt ids + middle ids + end id`, joined as ids, so a training example begins with exactly
the prompt that serving sends for the same text. Orders (Bavarian et al. 2022, and StarCoder's released models):

    PSM   <fim_prefix> P <fim_suffix> S <fim_middle> | M <|endoftext|>
    SPM   <fim_prefix> <fim_suffix> S <fim_middle> P | M <|endoftext|>

SPM puts typed text at the prompt's end, so a keystroke adds tokens instead of moving the suffix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from starling_server.errors import BaseModelError

Order = Literal["psm", "spm"]
SENTINELS = 3
"""Special tokens in a prompt, the same number in either order."""


class Names(Protocol):
    """Looks up special tokens."""

    def special_id(self, token: str) -> int | None:
        """Id of a special token by its literal spelling, None where the vocabulary lacks it."""
        ...


class Tokenizer(Names, Protocol):
    """Text to ids and back."""

    def encode(self, text: str, client: str = "") -> list[int]:
        """Ids of `text`, special tokens' spellings read as plain text; uses the cache of this client's text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; bytes that do not form a character yet become U+FFFD."""
        ...


class Vocabulary(Tokenizer, Protocol):
    """A tokenizer that also reads raw prompts with special tokens, used by `/v1/completions` only."""

    @property
    def size(self) -> int:
        """Number of ids."""
        ...

    def encode_marked(self, text: str) -> list[int]:
        """Ids of `text`, special tokens' spellings read as special tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one model family writes its sentinels."""

    prefix: str
    middle: str
    suffix: str
    pad: str
    others: tuple[str, ...]
    """Further tokens that never belong to a middle: each ends it."""


END = "<|endoftext|>"
FAMILIES: dict[str, tuple[Spelling, ...]] = {
    "gpt_bigcode": (
        Spelling(
            "<fim_prefix>",
            "<fim_middle>",
            "<fim_suffix>",
            "<fim_pad>",
            ("<filename>", "<reponame>", "<gh_stars>"),
        ),
        Spelling("<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>", ()),
    ),
    "starcoder2": (
        Spelling("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", ("<file_sep>", "<repo_name>")),
    ),
}
"""Spellings by `model_type`; the first whose tokens the vocabulary holds is taken (the second is SantaCoder's)."""


@dataclass(frozen=True, slots=True)
class Example:
    """One training example; `ids[:prompt_tokens]` is the serving prompt."""

    ids: list[int]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Fim:
    """The sentinels of one base as ids."""

    family: str
    prefix: int
    middle: int
    suffix: int
    pad: int
    end: int
    """Written after every complete middle."""
    stops: frozenset[int]
    """Every id that ends a middle; none of them is ever part of a suggestion."""

    def prompt(self, prefix: Sequence[int], suffix: Sequence[int], order: Order = "spm") -> list[int]:
        """Ids to complete after, from the ids of the text before and after the cursor."""
        if order == "spm":
            return [self.prefix, self.suffix, *suffix, self.middle, *prefix]
        return [self.prefix, *prefix, self.suffix, *suffix, self.middle]

    def example(
        self, prefix: Sequence[int], middle: Sequence[int], suffix: Sequence[int], order: Order = "spm"
    ) -> Example:
        """The same prompt with its answer; `middle` is complete, so the end id follows it."""
        prompt = self.prompt(prefix, suffix, order)
        return Example([*prompt, *middle, self.end], len(prompt))


def resolve(model_type: str, tokenizer: Names) -> Fim:
    """Look the sentinels up by name and check them.

    Raises BaseModelError for an unknown `model_type`, a vocabulary without FIM tokens, or ids that are not distinct.
    """
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise BaseModelError(
            f"The base has model_type {model_type!r}, and only {known} are supported: choose a StarCoder-family base."
        )
    for spelling in FAMILIES[model_type]:
        found = _resolve_spelling(model_type, spelling, tokenizer)
        if found is not None:
            return found
    raise BaseModelError(
        "The base's tokenizer has no fill-in-the-middle tokens (<fim_prefix>, <fim_middle>, <fim_suffix>): "
        "choose a base that was trained with FIM, such as bigcode/starcoder2-3b."
    )


def _resolve_spelling(family: str, spelling: Spelling, tokenizer: Names) -> Fim | None:
    names = (spelling.prefix, spelling.middle, spelling.suffix, spelling.pad, END)
    found = [tokenizer.special_id(name) for name in names]
    ids = [i for i in found if i is not None]
    if len(ids) < len(names):
        return None
    if len(set(ids)) < len(ids):
        raise BaseModelError(
            f"The base's tokenizer gives the same id to several of {', '.join(names)}: its vocabulary is damaged; "
            "download the base again."
        )
    others = (tokenizer.special_id(name) for name in spelling.others)
    return Fim(family, *ids, stops=frozenset(ids) | {i for i in others if i is not None})
