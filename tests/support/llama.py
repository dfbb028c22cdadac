"""llama.cpp as a judge: one sequence, fed in order, over the same thin layer that the runner uses."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from starling_server.backends.llamacpp import bindings as layer
from starling_server.backends.llamacpp.bindings import BATCH, Context, KeyType, Rows, Token, Weights

api: Any = layer.api()
CONTEXT = 1024


class Llama:
    """A GGUF model, with an adapter or bare, on the CPU."""

    def __init__(self, weights: Weights, context: Context) -> None:
        self._weights, self._context = weights, context
        self.vocabulary: Any = weights.vocabulary
        self.size = weights.vocab

    def tokens(self, text: str, special: bool = False) -> list[int]:
        """Ids of `text`; with `special` the spelling of a sentinel is the sentinel."""
        data = text.encode()
        room = (api.llama_token * (len(data) + 1))()
        count = api.llama_tokenize(self.vocabulary, data, len(data), room, len(room), False, special)
        assert count >= 0
        return list(room[:count])

    def use(self, lora: Path | None) -> None:
        """Put the GGUF LoRA in this file over the base from now on, at its own weight, or none."""
        self._context.use(self._weights.adapter(lora) if lora else None)

    def logits(self, ids: Sequence[int]) -> Rows:
        """After each of `ids`, read from an empty memory: shape (ids, vocabulary)."""
        self._context.forget(0)
        return np.concatenate([self._feed(ids[at : at + BATCH], at) for at in range(0, len(ids), BATCH)])

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The `count` likeliest tokens after `prompt`, each given those before it; nothing ends them."""
        written = [int(self.logits(prompt)[-1].argmax())]
        while len(written) < count:
            written.append(int(self._feed(written[-1:], len(prompt) + len(written) - 1)[-1].argmax()))
        return written

    def _feed(self, ids: Sequence[int], position: int) -> Rows:
        return self._context.decode([Token(0, token, position + at, True) for at, token in enumerate(ids)])


@contextmanager
def llama(path: Path, keys: KeyType = "f32", flash: bool = False) -> Generator[Llama]:
    """The GGUF model in this file; keys and values in float32, so that only the weights' type matters."""
    weights = Weights(path)
    context = Context(weights, CONTEXT, 1, threads=2, keys=keys, flash=flash)
    yield Llama(weights, context)
    context.close()
    weights.close()
