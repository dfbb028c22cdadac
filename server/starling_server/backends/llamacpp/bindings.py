"""Minimal bindings of llama.cpp's C interface for the runner: weights, sequences, decode. No torch.

`llama_cpp` is an extra, so it is imported only when needed. Return values of its functions are checked here. A wrong
argument would end the process (llama.cpp asserts), so arguments are asserted here first.
"""

import ctypes
import logging
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from starling_server.backends.llamacpp.thread_tuner import ThreadTuner
from starling_server.errors import AdapterError, BaseModelError, UsageError
from starling_server.models.catalogue import auto

log = logging.getLogger(__name__)
Rows = NDArray[np.float32]
Handle = Any
"""A llama.cpp pointer."""
KeyType = Literal["f16", "f32"]
"""Type of cached keys and values."""
BATCH = 512
"""Max number of tokens in one `decode`; throughput stops growing well below this (see `runner.CHUNK`)."""
FEW = 8
"""Max number of tokens in a forward so short that thread synchronisation dominates."""
ABORTED, NO_ROOM, NO_MEMORY = 2, 1, -2
"""Error codes of `llama_decode`."""
WARNING, ERROR = 3, 4
"""llama.cpp's log levels that are passed on."""


class Aborted(Exception):
    """A forward was stopped by `Context.abort`."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a batch."""

    sequence: int
    id: int
    position: int
    """0-based; the next position in its sequence."""
    kept: bool
    """Whether its logits are returned."""


@cache
def api() -> Any:
    """The module `llama_cpp`, logging to our log; raises ModuleNotFoundError, or UsageError if it is broken."""
    try:
        module: Any = import_module("llama_cpp")
    except (OSError, RuntimeError) as error:  # the shared library is missing or built for another machine
        raise UsageError(
            f"llama.cpp's library cannot be loaded ({error}): pip install --force-reinstall --no-cache-dir "
            "llama-cpp-python"
        ) from error
    module.starling_log = module.llama_log_callback(_log)  # a reference: llama.cpp crashes if it is collected
    module.llama_log_set(module.starling_log, ctypes.c_void_p(0))
    return module


def installed() -> bool:
    """Whether the package is installed; `api` checks that it works."""
    return find_spec("llama_cpp") is not None


class Weights:
    """A GGUF model in memory; raises BaseModelError if llama.cpp rejects the file."""

    def __init__(self, path: Path, gpu: bool = False) -> None:
        self.api = api()
        shape: Any = self.api.llama_model_default_params()
        shape.n_gpu_layers = -1 if gpu else 0  # -1: all layers, if this build supports a GPU
        self.handle: Handle = self.api.llama_model_load_from_file(str(path).encode(), shape)
        if not self.handle:
            raise BaseModelError(f"llama.cpp cannot load {path} (--verbose says why): remove the file and start again.")
        self.vocabulary: Handle = self.api.llama_model_get_vocab(self.handle)
        self.vocab = int(self.api.llama_vocab_n_tokens(self.vocabulary))
        """Number of logits per token."""
        self.bytes = path.stat().st_size
        self.close = weakref.finalize(self, self.api.llama_model_free, self.handle)

    def adapter(self, path: Path) -> Handle:
        """Load the GGUF LoRA in this file for `Context.use`; raises AdapterError if llama.cpp rejects it."""
        handle = self.api.llama_adapter_lora_init(self.handle, str(path).encode())
        if not handle:
            raise AdapterError(f"llama.cpp cannot load {path} (--verbose says why): remove the file and start again.")
        return handle

    def forget_adapter(self, adapter: Handle) -> None:
        """Free an adapter that no context uses; the remaining adapters are freed with the weights."""
        self.api.llama_adapter_lora_free(adapter)


class Context:
    """Keys and values of `sequences` sequences of `cells` tokens each, and forwards that extend them.

    Each sequence has its own buffer. In a shared buffer ("unified") a forward reads every cell up to the last used
    one, and llama.cpp splits the cells between threads. With four other sequences of 731 tokens, a token took 56 ms in
    a shared buffer and 48 ms in separate ones, against 46 ms without other sequences (1.1 billion weights in q4_0, two
    cores). The cost: copying a sequence copies its data, and several sequences in one forward are computed one by one
    unless their numbers are consecutive.

    The memory of all cells is allocated at once. Not thread-safe, except for `abort`. Raises MemoryError if the buffer
    does not fit.
    """

    def __init__(
        self,
        weights: Weights,
        cells: int,
        sequences: int,
        threads: int = 0,
        keys: KeyType = "f16",
        flash: bool = True,
    ) -> None:
        """With `threads` 0 there is one per core, and `ThreadTuner` decides for forwards of up to `FEW` tokens."""
        self.api, self.weights = weights.api, weights
        settings: Any = self.api.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max, settings.kv_unified = cells * sequences, sequences, False
        settings.n_batch = settings.n_ubatch = BATCH
        self._most = self._threads = threads or auto.cores()
        self._tuner = None if threads else ThreadTuner(self._most)
        settings.n_threads = settings.n_threads_batch = self._most
        settings.type_k = settings.type_v = getattr(self.api, f"GGML_TYPE_{keys.upper()}")
        settings.flash_attn_type = int(flash)  # LLAMA_FLASH_ATTN_TYPE_DISABLED 0, _ENABLED 1
        self._handle: Handle = self.api.llama_init_from_model(weights.handle, settings)
        if not self._handle:
            raise MemoryError(f"no room for keys and values of {cells * sequences} tokens")
        self._memory: Handle = self.api.llama_get_memory(self._handle)
        self._batch: Any = self.api.llama_batch_init(BATCH, 0, 1)
        self._flag = ctypes.create_string_buffer(2)
        self.api.llama_set_abort_callback(self._handle, _flag_reader(self.api), self._flag)
        self.close = weakref.finalize(self, _free, self.api, weights, self._handle, self._batch)

    def decode(self, tokens: Sequence[Token]) -> Rows:
        """Run one forward over 1 to BATCH tokens; returns logits after the kept ones in order, shape (kept, vocab).

        Raises MemoryError if a sequence's cells are used up, Aborted, RuntimeError; the caller must then `forget` the
        added tokens.
        """
        assert 0 < len(tokens) <= BATCH
        batch = self._batch
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens):
            batch.token[place], batch.pos[place], batch.logits[place] = token.id, token.position, token.kept
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, token.sequence
        status = self._compute(batch, len(tokens))
        if status:
            raise _failure(status)
        kept = sum(token.kept for token in tokens)
        if not kept:
            return np.empty((0, self.weights.vocab), np.float32)
        return np.ctypeslib.as_array(self.api.llama_get_logits(self._handle), (kept, self.weights.vocab)).copy()

    def _compute(self, batch: Any, tokens: int) -> int:
        """Run one forward; returns llama.cpp's status."""
        if self._tuner is None or tokens > FEW:
            self._use_threads(self._most)
            return self.api.llama_decode(self._handle, batch)
        threads = self._tuner.threads(tokens)
        self._use_threads(threads)
        started = perf_counter()
        status = self.api.llama_decode(self._handle, batch)
        self._tuner.took(tokens, threads, perf_counter() - started)
        return status

    def _use_threads(self, threads: int) -> None:
        if threads != self._threads:
            self.api.llama_set_n_threads(self._handle, threads, threads)
            self._threads = threads

    def forget(self, sequence: int, start: int = 0) -> None:
        """Drop a sequence's tokens from position `start` on."""
        self.api.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def copy(self, source: int, target: int, end: int) -> None:
        """Copy the first `end` tokens of `source` into the empty sequence `target`; done by the next forward."""
        if end:
            self.api.llama_memory_seq_cp(self._memory, source, target, 0, -1)  # llama.cpp copies whole buffers only
            self.forget(target, end)

    def length(self, sequence: int) -> int:
        """Number of tokens in a sequence, as reported by llama.cpp."""
        return int(self.api.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def use(self, adapter: Handle | None) -> None:
        """Apply this adapter in all following forwards; None means the bare base."""
        if adapter is None:
            self.api.llama_set_adapters_lora(self._handle, None, 0, None)
        else:
            array = (self.api.llama_adapter_lora_p_ctypes * 1)(adapter)
            self.api.llama_set_adapters_lora(self._handle, array, 1, (ctypes.c_float * 1)(1.0))

    def abort(self) -> None:
        """Abort the running forward, if any, after its current operation. Callable from any thread; CPU only.

        Takes 0.2 to 0.35 s in a forward of 512 tokens that would take 30 s (1.1 billion weights in q4_0, two shared
        cores).
        """
        self._flag[0] = b"\x01"

    def resume(self) -> None:
        """Allow forwards again after `abort`."""
        self._flag[0] = b"\x00"


def _flag_reader(module: Any) -> Any:
    """C's `strlen` as llama.cpp's abort callback: it returns nonzero once the flag's first byte is nonzero.

    llama.cpp calls it before every operation, several hundred times per forward. A Python function would need the GIL
    each time, and wait 5 ms for it whenever another thread computes.
    """
    library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    return ctypes.cast(library.strlen, module.ggml_abort_callback)


def _failure(status: int) -> Exception:
    if status == ABORTED:
        return Aborted("the forward was stopped")
    if status in (NO_ROOM, NO_MEMORY):
        return MemoryError("llama.cpp has no room for these tokens' keys and values")
    return RuntimeError(f"llama_decode returned {status}")


def _free(module: Any, weights: Weights, context: Handle, batch: Any) -> None:
    """Free a context; the argument `weights` keeps the weights alive until then."""
    del weights
    module.llama_batch_free(batch)
    module.llama_free(context)


def _log(level: int, text: bytes, data: Any) -> None:
    """Log llama.cpp's warnings and errors, which explain rejected files, and drop its hundreds of other lines."""
    if level in (WARNING, ERROR) and text.strip():
        log.debug("llama.cpp: %s", text.decode("utf-8", "replace").rstrip())
