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
class Example:
    """One training example; `ids[:prompt_tokens]` is the serving prompt."""

    ids: list[int]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Fim:
    """The FIM format of one base: its sentinels as ids. `models.families` makes it."""

    family: str
    prefix: int
    middle: int
    suffix: int
    pad: int
    end: int
    """Written after every complete middle."""
    stops: frozenset[int]
    """Every id that ends a middle; none of them is ever part of a suggestion."""
    text_sentinels: tuple[str, ...]
    """Spellings that end a suggestion where the model writes them in pieces, as ordinary tokens."""
    order: Order
    """The order of prompts where a call names none."""
    repository: int | None = None
    file: int | None = None
    """Tokens before a repository's and a file's name, where the base has learnt them (`context.block`)."""

    def prompt(self, prefix: Sequence[int], suffix: Sequence[int], order: Order | None = None) -> list[int]:
        """Ids to complete after, from the ids of the text before and after the cursor."""
        if (order or self.order) == "spm":
            return [self.prefix, self.suffix, *suffix, self.middle, *prefix]
        return [self.prefix, *prefix, self.suffix, *suffix, self.middle]

    def example(
        self, prefix: Sequence[int], middle: Sequence[int], suffix: Sequence[int], order: Order | None = None
    ) -> Example:
        """The same prompt with its answer; `middle` is complete, so the end id follows it."""
        prompt = self.prompt(prefix, suffix, order)
        return Example([*prompt, *middle, self.end], len(prompt))
