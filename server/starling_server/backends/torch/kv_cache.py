"""Keys and values: one sequence in a tensor that is written in place, and several sequences batched for one forward.

A sequence's length is the valid part of its tensor: rewinding sets it, and adding a token moves nothing. (transformers'
DynamicCache concatenates every layer again at every token, and can only be cropped by a negative count.) Batching
copies all keys and values once per forward, which is cheap compared with reading the weights: multi-query models keep
12 KB a token at 1 B parameters. Nothing moves when a sequence joins or leaves a batch.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

STEP = 256
"""Room grows by this many tokens: 3 MB for a multi-query model with 1 B parameters."""


class SequenceCache(Cache):
    """One sequence, as the `past_key_values` of a transformers model."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[DynamicLayer()])  # transformers reads only its kind: full attention
        self.length = 0
        """Valid tokens."""
        self.mirrored = 0
        """Number of first tokens that the buffer of a `cuda_graphs.StepGraphs` holds too."""
        self.kv: Tensor | None = None
        """Shape (layers, keys and values, 1, heads, room, size), room a multiple of STEP; None before any write."""
        self._layers = layers

    @property
    def nbytes(self) -> int:
        """Allocated memory, in bytes."""
        return self.kv.numel() * self.kv.element_size() if self.kv is not None else 0

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one layer's new tokens; returns all of its keys and values, shape (1, heads, tokens, size).

        The length grows at the last layer, so a forward that fails earlier has added nothing.
        """
        start, end = self.length, self.length + key_states.shape[-2]
        if layer_idx == 0:
            self.reserve(end, key_states)
            self.mirrored = min(self.mirrored, start)
        assert self.kv is not None
        keys, values = self.kv[layer_idx]
        keys[..., start:end, :], values[..., start:end, :] = key_states, value_states
        if layer_idx == self._layers - 1:
            self.length = end
        return keys[..., :end, :], values[..., :end, :]

    def reserve(self, tokens: int, like: Tensor) -> None:
        """Allocate room for this many tokens; heads, size and type are those of `like`, shape (1, heads, any, size)."""
        if self.kv is not None and tokens <= self.kv.shape[-2]:
            return
        room = -(-tokens // STEP) * STEP
        grown = like.new_empty((self._layers, 2, 1, like.shape[1], room, like.shape[3]))
        if self.kv is not None:
            grown[..., : self.length, :] = self.kv[..., : self.length, :]
        self.kv = grown

    def append(self, kv: Tensor) -> None:
        """Add keys and values that were computed elsewhere, shape (layers, 2, 1, heads, tokens, size)."""
        end = self.length + kv.shape[-2]
        self.reserve(end, kv[0, 0])
        assert self.kv is not None
        self.kv[..., self.length : end, :] = kv
        self.length = end

    def rewind(self, length: int) -> None:
        """Truncate to the first `length` tokens."""
        self.length = length
        self.mirrored = min(self.mirrored, length)

    @torch.inference_mode()
    def fork(self, length: int) -> "SequenceCache":
        """A copy of the first `length` tokens."""
        copy = SequenceCache(self._layers)
        if length and self.kv is not None:
            copy.append(self.kv[..., :length, :])
        return copy

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Valid tokens."""
        return self.length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Position of the next token."""
        return self.length

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Number of keys that `update` will return, and the position of the first."""
        return self.length + query_length, 0


class BatchCache(Cache):
    """Several sequences as one `past_key_values`; row i extends `caches[i]` by the first `counts[i]` of its ids."""

    def __init__(self, caches: Sequence[SequenceCache], counts: Sequence[int]) -> None:
        super().__init__(layers=[DynamicLayer()])
        self.longest = max(counts)
        """Length of a padded row of ids."""
        self._caches, self._counts = caches, counts
        self._before = [cache.length for cache in caches]
        self._most = max(before + count for before, count in zip(self._before, counts, strict=True))

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write each row to its cache; returns all keys and values, padded on the right, (rows, heads, most, size)."""
        shape = (key_states.shape[0], key_states.shape[1], self._most, key_states.shape[3])
        keys, values = key_states.new_zeros(shape), value_states.new_zeros(shape)
        for row, (cache, count) in enumerate(zip(self._caches, self._counts, strict=True)):
            own = slice(row, row + 1)
            key, value = cache.update(key_states[own, :, :count], value_states[own, :, :count], layer_idx)
            keys[row, :, : key.shape[-2]], values[row, :, : value.shape[-2]] = key[0], value[0]
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of the longest row before this forward."""
        return max(self._before)

    def positions(self) -> Tensor:
        """Position of each id in its sequence, shape (rows, longest); padding has positions past the end."""
        return torch.tensor(self._before).unsqueeze(1) + torch.arange(self.longest)

    def mask(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Additive attention mask, shape (rows, 1, longest, most): each id sees its own past.

        The whole past, since a base's context is never longer than its attention window (`models.bases`).
        """
        seen = torch.arange(self._most) <= self.positions().unsqueeze(-1)
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        return mask.unsqueeze(1).to(device)


@contextmanager
def restored_on_failure(caches: Sequence[SequenceCache]) -> Generator[None]:
    """If the block fails, rewind the caches to their previous lengths; out of memory becomes MemoryError."""
    lengths = [cache.length for cache in caches]
    try:
        yield
    except Exception as error:
        for cache, length in zip(caches, lengths, strict=True):
            cache.rewind(length)
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise
