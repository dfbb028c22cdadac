"""Log-probabilities in OpenAI's form, from the model's own."""

from collections.abc import Sequence

from starling_server.completion.raw_completion import Continuation, Written
from starling_server.engine.protocols import Likely
from starling_server.http.completions_wire import Logprobs
from starling_server.postprocess.stops import MOST_PENDING, REPLACEMENT
from starling_server.prompt.fim import Vocabulary

_ITSELF = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = sorted({*range(0x100)} - {*_ITSELF})
BYTES = {chr(byte): byte for byte in _ITSELF} | {chr(0x100 + at): byte for at, byte in enumerate(_OTHERS)}
"""Byte by letter, in the vocabularies of byte-level BPE (GPT-2's `bytes_to_unicode`)."""


def logprobs(tokenizer: Vocabulary, asked: Continuation, written: Written, echoed: str) -> Logprobs:
    """Of every token that the model wrote, its end included; where a stop text cut it, of those that start before that.

    With `asked.scores_prompt` of the prompt's tokens first, whose text is `echoed`; the very first of them has no
    log-probability.
    """
    begun = offsets(tokenizer, [each.token for each in written.likely])
    inside = [at for at, offset in enumerate(begun) if not written.is_cut or offset < len(written.text)]
    told: list[Likely | None] = [written.likely[at] for at in inside]
    places = [len(echoed) + begun[at] for at in inside]
    tokens = [written.likely[at].token for at in inside]
    if asked.scores_prompt:
        told = [None, *written.prompt_likely, *told]
        places = [*offsets(tokenizer, asked.prompt), *places]
        tokens = [*asked.prompt, *tokens]
    return Logprobs(
        tokens=[spelled(tokenizer, token) for token in tokens],
        token_logprobs=[each.nats if each else None for each in told],
        top_logprobs=[best(tokenizer, each) if each else None for each in told],
        text_offset=places,
    )


def best(tokenizer: Vocabulary, likely: Likely) -> dict[str, float]:
    """The likeliest tokens and the one that was written; of two that are spelled alike the likelier one."""
    found = dict[str, float]()
    for token, nats in [*likely.best, (likely.token, likely.nats)]:
        found.setdefault(spelled(tokenizer, token), nats)
    return found


def spelled(tokenizer: Vocabulary, token: int) -> str:
    """A token's text, or OpenAI's `bytes:\\xe4\\xbd` where its bytes do not form characters."""
    text = tokenizer.decode([token])
    letters = tokenizer.piece(token)
    if REPLACEMENT not in text or any(letter not in BYTES for letter in letters):
        return text
    return "bytes:" + "".join(f"\\x{BYTES[letter]:02x}" for letter in letters)


def offsets(tokenizer: Vocabulary, ids: Sequence[int]) -> list[int]:
    """Index in the text of `ids` at which each of them begins; a character of several ids begins with the first."""
    found, at, pending = list[int](), 0, list[int]()
    for token in ids:
        found.append(at)
        pending.append(token)
        text = tokenizer.decode(pending)
        if not text.endswith(REPLACEMENT) or len(pending) > MOST_PENDING:
            at, pending = at + len(text), []
    return found
