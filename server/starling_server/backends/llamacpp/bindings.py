"""llama.cpp through its C interface, as little of it as a runner needs: weights, sequences, decode. No torch.

`llama_cpp` is an extra, so nothing of it is imported before it is needed. What its functions return is checked here;
a wrong argument would end the process (llama.cpp asserts), so those are asserted here first.
"""

import ctypes
import logging
import os
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
import psutil
from numpy.typing import NDArray

from starling_server.backends.llamacpp.thread_tuner import ThreadTuner
from starling_server.errors import AdapterError, BaseModelError, UsageError

log = logging.getLogger(__name__)
Rows = NDArray[np.float32]
Handle = Any
"""A pointer of llama.cpp's."""
KeyType = Literal["f16", "f32"]
"""What keys and values are kept as."""
BATCH = 512
"""Most tokens of one `decode`; the matrices are filled well before (see `runner_ggml.CHUNK`)."""
FEW = 8
"""Tokens of a forward that is over so soon that threads are mostly waited for."""
ABORTED, NO_ROOM, NO_MEMORY = 2, 1, -2
"""What `llama_decode` returns besides 0."""
WARNING, ERROR = 3, 4
"""llama.cpp's levels of log lines that are worth reading."""


class Aborted(Exception):
    """A forward was stopped by `Context.abort`."""


@dataclass(frozen=True, slots=True)
class Token:
    """One place of a batch."""

    sequence: int
    id: int
    position: int
    """From 0; a sequence's next one."""
    kept: bool
    """Whether its logits are wanted."""


@cache
def api() -> Any:
    """The module `llama_cpp`, its log turned to ours; raises ModuleNotFoundError, or UsageError where it is broken."""
    try:
        module: Any = import_module("llama_cpp")
    except (OSError, RuntimeError) as error:  # its shared library is not there, or is for another machine
        raise UsageError(
            f"llama.cpp's library cannot be loaded ({error}): pip install --force-reinstall --no-cache-dir "
            "llama-cpp-python"
        ) from error
    module.starling_log = module.llama_log_callback(_log)  # kept with the module: a callback that is collected crashes
    module.llama_log_set(module.starling_log, ctypes.c_void_p(0))
    return module


def installed() -> bool:
    """Whether the package is there; `api` tells whether it works."""
    return find_spec("llama_cpp") is not None


def cores() -> int:
    """Physical cores that this process may use: a second thread on one only gets in the first one's way."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or allowed, allowed)


class Weights:
    """A GGUF model in memory; raises BaseModelError where llama.cpp refuses the file."""

    def __init__(self, path: Path, gpu: bool = False) -> None:
        self.api = api()
        shape: Any = self.api.llama_model_default_params()
        shape.n_gpu_layers = -1 if gpu else 0  # all of them, where this build of llama.cpp knows a GPU
        self.handle: Handle = self.api.llama_model_load_from_file(str(path).encode(), shape)
        if not self.handle:
            raise BaseModelError(f"llama.cpp cannot load {path} (--verbose says why): remove the file and start again.")
        self.vocabulary: Handle = self.api.llama_model_get_vocab(self.handle)
        self.vocab = int(self.api.llama_vocab_n_tokens(self.vocabulary))
        """Logits of one token."""
        self.bytes = path.stat().st_size
        self.close = weakref.finalize(self, self.api.llama_model_free, self.handle)

    def token_floats(self) -> int:
        """Numbers that keys and values of one token are, over all layers."""
        heads, keys = self.api.llama_model_n_head(self.handle), self.api.llama_model_n_head_kv(self.handle)
        width = self.api.llama_model_n_embd(self.handle) // heads * keys
        return int(2 * width * self.api.llama_model_n_layer(self.handle))

    def adapter(self, path: Path) -> Handle:
        """The GGUF LoRA in this file, for `Context.use`; raises AdapterError where llama.cpp refuses it."""
        handle = self.api.llama_adapter_lora_init(self.handle, str(path).encode())
        if not handle:
            raise AdapterError(f"llama.cpp cannot load {path} (--verbose says why): remove the file and start again.")
        return handle

    def forget_adapter(self, adapter: Handle) -> None:
        """Free an adapter that no context uses; what is left goes with the weights."""
        self.api.llama_adapter_lora_free(adapter)


class Context:
    """Keys and values of `sequences`, `cells` tokens of room for each, and forwards that extend them.

    Each sequence has a buffer of its own. In one buffer for all ("unified") a forward looks at every cell up to the
    last used one, and llama.cpp gives each thread a stretch of them: with four other sequences of 731 tokens in it a
    token took 56 ms, where one alone took 46 and one of buffers of their own 48 (1.1 billion weights in q4_0, two
    cores). The price: a copied sequence is copied, and several in one forward are computed one after another unless
    their numbers follow each other.

    The memory of all cells is taken at once. Not thread-safe, `abort` excepted. Raises MemoryError where the buffer
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
        """`threads` 0 is one a core, and for a `FEW` tokens what `ThreadTuner` makes of it."""
        self.api, self.weights = weights.api, weights
        settings: Any = self.api.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max, settings.kv_unified = cells * sequences, sequences, False
        settings.n_batch = settings.n_ubatch = BATCH
        self._most = self._threads = threads or cores()
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
        """One forward over 1 to BATCH tokens; logits after the kept ones in order, shape (kept, vocab).

        Raises MemoryError where a sequence's cells are used up, Aborted, RuntimeError; the caller forgets what was
        added then.
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
        """llama.cpp's status of one forward."""
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
        """Make the empty sequence `target` the first `end` tokens of `source`, with the next forward."""
        if end:
            self.api.llama_memory_seq_cp(self._memory, source, target, 0, -1)  # llama.cpp copies whole buffers only
            self.forget(target, end)

    def length(self, sequence: int) -> int:
        """Tokens of a sequence, by llama.cpp's own account."""
        return int(self.api.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def use(self, adapter: Handle | None) -> None:
        """Put this adapter over the base in all forwards from now on, or none."""
        if adapter is None:
            self.api.llama_set_adapters_lora(self._handle, None, 0, None)
        else:
            array = (self.api.llama_adapter_lora_p_ctypes * 1)(adapter)
            self.api.llama_set_adapters_lora(self._handle, array, 1, (ctypes.c_float * 1)(1.0))

    def abort(self) -> None:
        """End the forward that is running, if one is, after its current operation. From any thread; CPU only.

        0.2 to 0.35 s into 512 tokens that take 30 (1.1 billion weights in q4_0, two cores that others use too).
        """
        self._flag[0] = b"\x01"

    def resume(self) -> None:
        """Let forwards run again after `abort`."""
        self._flag[0] = b"\x00"


def _flag_reader(module: Any) -> Any:
    """C's `strlen` as llama.cpp's abort callback: it is not 0 as soon as the flag's first byte is not.

    llama.cpp asks before every operation, several hundred times a forward. A function of Python's would need the
    interpreter's lock each time, and wait 5 ms for it whenever another thread computes.
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
    """Take a context apart; `weights` is an argument so that it lives until then."""
    del weights
    module.llama_batch_free(batch)
    module.llama_free(context)


def _log(level: int, text: bytes, data: Any) -> None:
    """llama.cpp's own words: of use when a file is refused, else hundreds of lines about nothing."""
    if level in (WARNING, ERROR) and text.strip():
        log.debug("llama.cpp: %s", text.decode("utf-8", "replace").rstrip())
