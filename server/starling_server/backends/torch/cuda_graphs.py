"""Decoding steps over fixed addresses, so that a CUDA graph can be captured once and replayed for every sequence.

A graph reads and writes the addresses of its capture. A decoding sequence is therefore mirrored into a fixed buffer,
and the tokens that a step adds are copied back, so the sequence itself is always complete. Switching to another
sequence costs one copy of its keys and values (2,000 tokens of a multi-query model with 1 B parameters: 24 MB).

Attention reads the first `bucket` tokens of the buffer, masked to the sequence's length. There is one `Work` for each
bucket and each number of ids; a sequence that outgrows its bucket uses the next one.

At batch size 1 a GPU waits for the host: a forward is some thousand kernels, and launching them takes longer than
reading the weights. A graph launches all of them at once. Prefill and batched forwards have enough work to hide that.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from starling_server.backends.torch.kv_cache import SequenceCache, restored_on_failure

log = logging.getLogger(__name__)

Work = Callable[[], Tensor]
"""One step over the buffer's current content; returns logits, shape (ids, vocab), valid until the next work runs."""
Capture = Callable[[Work], Work]
"""Turns a work into an equivalent one on the same addresses: its CUDA graph, or the work itself."""
BUCKETS = (1024, 2048, 4096)
"""Numbers of tokens that attention reads; the context is added as the last bucket."""
SIZES = (1, 4)
"""Numbers of ids in one step: one token, or one plus three draft tokens; smaller steps are padded."""
WARMUPS = 2
"""Eager runs before a capture: the first ones select kernels and allocate workspaces."""


def uncaptured(work: Work) -> Work:
    """A `Capture` for devices without graphs: returns the work itself."""
    return work


def capturing(device: torch.device) -> Capture:
    """A `Capture` that makes CUDA graphs on this GPU; CUDA's errors pass through.

    The graphs share one memory pool, since logits are copied before the next replay.
    """
    live = WeakSet[torch.cuda.CUDAGraph]()

    def capture(work: Work) -> Work:
        graph, pool = torch.cuda.CUDAGraph(), next((other.pool() for other in live), None)
        with torch.cuda.device(device):  # the capturing thread may not be the loading thread
            _warm_up(work)
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                out = work()
        live.add(graph)

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay

    return capture


class StepGraphs:
    """The fixed buffer and its works. Works refer to the layers at capture time: `forget` them when layers change."""

    def __init__(self, model: Any, context: int, capture: Capture) -> None:
        self._model, self._context, self._capture = model, context, capture
        self._buckets = (*(size for size in BUCKETS if size < context), context)
        self._works: dict[tuple[int, int], Work] = {}
        self._kv: Tensor | None = None
        self._inputs = {size: torch.zeros(1 + size, dtype=torch.long, device=model.device) for size in SIZES}
        self._owner: SequenceCache | None = None

    def takes(self, kv: SequenceCache, count: int) -> bool:
        """Whether `step` can extend this sequence by `count` ids: it is not empty and the padded ids fit."""
        return kv.kv is not None and 0 < count <= SIZES[-1] and kv.length + _size(count) <= self._context

    def step(self, kv: SequenceCache, ids: Sequence[int]) -> Tensor:
        """Extend a sequence for which `takes` is true; returns logits after each id, shape (ids, vocab)."""
        start, size = kv.length, _size(len(ids))
        mirror = self._mirror(kv)
        self._inputs[size].copy_(torch.tensor([start, *ids, *[0] * (size - len(ids))]))
        bucket = next(bucket for bucket in self._buckets if start + size <= bucket)
        logits = self._work(bucket, size)()[: len(ids)].clone()
        kv.append(mirror[..., start : start + len(ids), :])
        kv.mirrored = kv.length
        return logits

    def release(self, kv: SequenceCache) -> None:
        """Drop the reference to a closed sequence."""
        if self._owner is kv:
            self._owner = None

    def forget(self) -> None:
        """Drop all works; call when the model's layers or their addresses have changed."""
        self._works.clear()

    def _mirror(self, kv: SequenceCache) -> Tensor:
        """The buffer's keys and values, updated with this sequence's."""
        assert kv.kv is not None
        if self._kv is None:
            layers, two, one, heads, _, size = kv.kv.shape
            self._kv = kv.kv.new_zeros((layers, two, one, heads, self._context, size))
        if self._owner is not kv:
            if self._owner is not None:
                self._owner.mirrored = 0
            self._owner, kv.mirrored = kv, 0
            self._kv[..., kv.length :, :] = 0  # masked, but stale infinities would still have an effect
        self._kv[..., kv.mirrored : kv.length, :] = kv.kv[..., kv.mirrored : kv.length, :]
        kv.mirrored = kv.length
        return self._kv

    def _work(self, bucket: int, size: int) -> Work:
        """The work of this bucket and size, captured on first use; a capture takes some tenths of a second."""
        if (bucket, size) not in self._works:
            assert self._kv is not None
            kv, inputs = self._kv[..., :bucket, :], self._inputs[size]
            self._works[bucket, size] = self._capture(lambda: _forward(self._model, kv, inputs))
        return self._works[bucket, size]


class GraphedDecode:
    """Implements `runner.DecodeStep` with graphs, until a capture fails for good: then decoding runs without them."""

    def __init__(self, model: Any, context: int, capture: Capture) -> None:
        """`capture` is `capturing(...)`, or `uncaptured` for the same steps without graphs."""
        self._graphs: StepGraphs | None = StepGraphs(model, context, capture)
        self._short_of_memory = False

    @property
    def active(self) -> bool:
        """Whether graphs are still in use."""
        return self._graphs is not None

    def step(self, kv: SequenceCache, ids: Sequence[int]) -> Tensor | None:
        """Logits after each id, shape (ids, vocab); None if no graph fits or graphs were given up.

        Raises MemoryError at the first shortage of memory; graphs are given up if evicting sequences did not help.
        """
        if not (self._graphs and self._graphs.takes(kv, len(ids))):
            return None
        try:
            with restored_on_failure([kv]):
                logits = self._graphs.step(kv, ids)
            self._short_of_memory = False
            return logits
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) and not self._short_of_memory:
                self._short_of_memory = True
                raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.warning("CUDA graphs are off, so decoding is slower: a graph could not be captured (%s)", reason)
            self._graphs = None
            return None

    def forget_layers(self) -> None:
        """Capture every graph again at its next use."""
        if self._graphs:
            self._graphs.forget()

    def release(self, kv: SequenceCache) -> None:
        """Drop the reference to a closed sequence."""
        if self._graphs:
            self._graphs.release(kv)


class Bucket(Cache):
    """The buffer's first tokens as the model's cache during a step."""

    def __init__(self, kv: Tensor, places: Tensor) -> None:
        super().__init__(layers=[DynamicLayer()])
        self._kv, self._places = kv, places

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values; returns the whole bucket's, shape (1, heads, bucket, size)."""
        keys, values = self._kv[layer_idx]
        keys.index_copy_(2, self._places, key_states)
        values.index_copy_(2, self._places, value_states)
        return keys, values


def _warm_up(work: Work) -> None:
    """Run the work on a side stream, as torch requires before a capture."""
    current, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(WARMUPS):
            work()
    current.wait_stream(side)


def _size(count: int) -> int:
    return next(size for size in SIZES if count <= size)


def _forward(model: Any, kv: Tensor, inputs: Tensor) -> Tensor:
    """Logits, shape (ids, vocab). `inputs` holds the sequence's length, then the ids. Does not wait for the device."""
    places = inputs[0] + torch.arange(len(inputs) - 1, device=inputs.device)
    seen = torch.arange(kv.shape[-2], device=inputs.device) <= places.unsqueeze(1)
    mask = torch.zeros(seen.shape, dtype=kv.dtype, device=inputs.device)
    mask = mask.masked_fill(~seen, torch.finfo(kv.dtype).min)
    out = model(
        input_ids=inputs[1:].unsqueeze(0),
        attention_mask=mask[None, None],
        position_ids=places.unsqueeze(0),
        past_key_values=Bucket(kv, places),
        use_cache=True,
    )
    return out.logits[0]
