"""Keys and values: one sequence in a tensor that is written in place, and several sequences joined for one forward.

A length says how much of a sequence's tensor counts: rewinding sets it, and nothing is moved when a token comes.
(transformers' own dynamic cache concatenates every layer again at every token, and can only be cropped by a negative
count.) Joining copies all keys and values once per forward, which costs little beside the weights that the forward
reads: multi-query models keep 12 KB a token at 1 B parameters. Nothing moves when a sequence joins or leaves a batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

STEP = 256
"""Room grows by this many tokens: 3 MB of a multi-query model with 1 B parameters."""


class SequenceCache(Cache):
    """What a model takes for its cache."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[DynamicLayer()])  # transformers asks it only for its kind: a layer that sees all
        self.length = 0
        """Tokens that count."""
        self.mirrored = 0
        """Of them the first ones that a `cuda_graphs.StepGraphs` holds too."""
        self.kv: Tensor | None = None
        """(layers, keys and values, 1, heads, room, size), room a multiple of STEP; None while nothing was written."""
        self._layers = layers

    @property
    def nbytes(self) -> int:
        """Memory taken, in bytes."""
        return self.kv.numel() * self.kv.element_size() if self.kv is not None else 0

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one layer's new tokens; all of its keys and values, shape (1, heads, tokens, size).

        The length grows with the last layer, so that a forward that fails before has added nothing.
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
        """Room for this many tokens, of heads, size and type as `like` has them, shape (1, heads, any, size)."""
        if self.kv is not None and tokens <= self.kv.shape[-2]:
            return
        room = -(-tokens // STEP) * STEP
        grown = like.new_empty((self._layers, 2, 1, like.shape[1], room, like.shape[3]))
        if self.kv is not None:
            grown[..., : self.length, :] = self.kv[..., : self.length, :]
        self.kv = grown

    def append(self, kv: Tensor) -> None:
        """Take over tokens computed elsewhere, shape (layers, 2, 1, heads, tokens, size)."""
        end = self.length + kv.shape[-2]
        self.reserve(end, kv[0, 0])
        assert self.kv is not None
        self.kv[..., self.length : end, :] = kv
        self.length = end

    def rewind(self, length: int) -> None:
        """Only the first `length` tokens count."""
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
        """Tokens that count."""
        return self.length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Position of the next token."""
        return self.length

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """How many keys `update` will return, and the position of the first."""
        return self.length + query_length, 0


class BatchCache(Cache):
    """What a model takes for its cache; row i extends `caches[i]` by the first `counts[i]` of its padded ids."""

    def __init__(self, caches: Sequence[SequenceCache], counts: Sequence[int]) -> None:
        super().__init__(layers=[DynamicLayer()])
        self.longest = max(counts)
        """Ids of a padded row."""
        self._caches, self._counts = caches, counts
        self._before = [cache.length for cache in caches]
        self._most = max(before + count for before, count in zip(self._before, counts, strict=True))

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep each row's own; keys and values of all rows, padded on the right, shape (rows, heads, most, size)."""
        shape = (key_states.shape[0], key_states.shape[1], self._most, key_states.shape[3])
        keys, values = key_states.new_zeros(shape), value_states.new_zeros(shape)
        for row, (cache, count) in enumerate(zip(self._caches, self._counts, strict=True)):
            own = slice(row, row + 1)
            key, value = cache.update(key_states[own, :, :count], value_states[own, :, :count], layer_idx)
            keys[row, :, : key.shape[-2]], values[row, :, : value.shape[-2]] = key[0], value[0]
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Of the longest row, before this forward."""
        return max(self._before)

    def positions(self) -> Tensor:
        """Index of each id in its sequence, shape (rows, longest); past the end where a row is padded."""
        return torch.tensor(self._before).unsqueeze(1) + torch.arange(self.longest)

    def mask(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """What to add to scores, shape (rows, 1, longest, most): each id sees its own past.

        All of it: a base's context is never longer than its attention's window (`bases`).
        """
        seen = torch.arange(self._most) <= self.positions().unsqueeze(-1)
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        return mask.unsqueeze(1).to(device)
