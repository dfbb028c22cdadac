"""llama.cpp through its C interface, as little of it as a comparison needs."""

import ctypes
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

api: Any = import_module("llama_cpp")  # an extra that need not be there where types are checked
CONTEXT = 512


def _say_nothing(level: int, text: bytes, data: Any) -> None:
    """For the log, which would go to standard error."""


SILENT = api.llama_log_callback(_say_nothing)


class Llama:
    """A GGUF model, with an adapter or bare, on the CPU."""

    def __init__(self, model: Any, context: Any) -> None:
        self._model, self._context = model, context
        self.vocabulary: Any = api.llama_model_get_vocab(model)
        self.size = api.llama_vocab_n_tokens(self.vocabulary)
        self._adapters: list[Any] = []

    def tokens(self, text: str, special: bool = False) -> list[int]:
        """Ids of `text`; with `special` the spelling of a sentinel is the sentinel."""
        data = text.encode()
        room = (api.llama_token * (len(data) + 1))()
        count = api.llama_tokenize(self.vocabulary, data, len(data), room, len(room), False, special)
        assert count >= 0
        return list(room[:count])

    def use(self, lora: Path) -> None:
        """Put the GGUF LoRA in this file over the base from now on, at its own weight."""
        adapter = api.llama_adapter_lora_init(self._model, str(lora).encode())
        assert adapter, "llama.cpp refuses the adapter"
        self._adapters.append(adapter)
        array = (api.llama_adapter_lora_p_ctypes * 1)(adapter)
        assert api.llama_set_adapters_lora(self._context, array, 1, (ctypes.c_float * 1)(1.0)) == 0

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """After each of `ids`, read from an empty memory: shape (ids, vocabulary)."""
        api.llama_memory_clear(api.llama_get_memory(self._context), True)
        return self._feed(ids, 0)

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The `count` likeliest tokens after `prompt`, each given those before it; nothing ends them."""
        written = [int(self.logits(prompt)[-1].argmax())]
        while len(written) < count:
            written.append(int(self._feed(written[-1:], len(prompt) + len(written) - 1)[-1].argmax()))
        return written

    def _feed(self, ids: Sequence[int], position: int) -> NDArray[np.float32]:
        batch = api.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place], batch.logits[place] = token, position + place, 1
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
        assert api.llama_decode(self._context, batch) == 0
        rows = np.ctypeslib.as_array(api.llama_get_logits(self._context), (len(ids), self.size)).copy()
        api.llama_batch_free(batch)
        return rows


@contextmanager
def llama(path: Path) -> Generator[Llama]:
    """The GGUF model in this file; keys and values in float32, so that only the weights' type matters."""
    api.llama_log_set(SILENT, ctypes.c_void_p(0))
    shape: Any = api.llama_model_default_params()
    shape.n_gpu_layers = 0
    model = api.llama_model_load_from_file(str(path).encode(), shape)
    assert model, "llama.cpp refuses the model"
    settings: Any = api.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = CONTEXT
    settings.n_threads = settings.n_threads_batch = 2
    settings.type_k = settings.type_v = api.GGML_TYPE_F32
    settings.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = api.llama_init_from_model(model, settings)
    assert context, "llama.cpp refuses the context"
    try:
        yield Llama(model, context)
    finally:
        api.llama_free(context)
        api.llama_model_free(model)
