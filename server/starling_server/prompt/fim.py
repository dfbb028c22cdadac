"""Prompts for serving and examples for training, both built here.

`example ids = prompt ids + middle ids + end id`, joined as ids, so a training example begins with exactly
the prompt that serving sends for the same text. Orders (Bavarian et al. 2022), in the spelling of StarCoder:

    PSM   <fim_prefix> P <fim_suffix> S <fim_middle> | M <|endoftext|>
    SPM   <fim_prefix> <fim_suffix> S <fim_middle> P | M <|endoftext|>

SPM puts typed text at the prompt's end, or one token before it, so a keystroke adds tokens instead of moving the
suffix. `models.families` says how each family writes both, and which it has learnt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Order = Literal["psm", "spm"]
Text = Literal["P", "S"]
"""The places of a prompt for the text before and after the cursor."""
Template = tuple[int | Text, ...]
"""A prompt: the ids of its sentinels, and the places of text."""


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

    def piece(self, token: int) -> str:
        """A token as the vocabulary spells it; in byte-level BPE one letter for each byte."""
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
    """Fills rows of a batch; the end id where the vocabulary has no token for it."""
    end: int
    """Written after every complete middle."""
    begin: int | None
    """Begins every prompt and every document, where the base has learnt so."""
    psm: Template
    spm: Template
    learnt: tuple[Order, ...]
    """The orders that the base was trained with."""
    stops: frozenset[int]
    """Every id that ends a middle; none of them is ever part of a suggestion."""
    text_sentinels: tuple[str, ...]
    """Spellings that end a suggestion where the model writes them in pieces, as ordinary tokens."""
    order: Order
    """The order of prompts where a call names none."""
    repository: int | None = None
    file: int | None = None
    """Tokens before a repository's and a file's name, where the base has learnt them (`context.block`)."""
    repository_end: str = ""
    """Text behind a repository's name."""
    reads_files: bool = False
    """Whether the base has learnt prompts with other files."""

    @property
    def sentinels(self) -> int:
        """Special tokens in a prompt, at most."""
        return max(sum(isinstance(part, int) for part in template) for template in (self.psm, self.spm))

    def prompt(
        self, prefix: Sequence[int], suffix: Sequence[int], order: Order | None = None, others: Sequence[int] = ()
    ) -> list[int]:
        """Ids to complete after, from the ids of the text before and after the cursor.

        `others` are the ids of other files (`context.block`), which come first, behind the token that begins a prompt.
        """
        ids = list[int]()
        for part in self.spm if (order or self.order) == "spm" else self.psm:
            ids += [part] if isinstance(part, int) else prefix if part == "P" else suffix
        begins = 0 if self.begin is None else 1
        return [*ids[:begins], *others, *ids[begins:]]

    def example(
        self,
        prefix: Sequence[int],
        middle: Sequence[int],
        suffix: Sequence[int],
        order: Order | None = None,
        others: Sequence[int] = (),
    ) -> Example:
        """The same prompt with its answer; `middle` is complete, so the end id follows it."""
        prompt = self.prompt(prefix, suffix, order, others)
        return Example([*prompt, *middle, self.end], len(prompt))
