"""A byte-level BPE vocabulary with StarCoder's special tokens, trained on the corpus."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
SPECIAL = (END, "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>", "<reponame>")
"""Special tokens in the order of StarCoder's ids: 0 to 4 are the same there."""


def train(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer with `size` tokens in total; each digit is a token of its own, as in StarCoder's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, context: int, folder: Path) -> None:
    """Write `tokenizer` in a form that transformers loads."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        unk_token=END,
        pad_token="<fim_pad>",
        additional_special_tokens=list(SPECIAL[1:]),
        model_max_length=context,
    ).save_pretrained(folder)


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that `save` wrote."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
