"""Several sequences' keys and values as one batch: each keeps its own, joined only for the time of a layer.

Copying all keys and values once a forward costs little beside the weights that the forward reads: multi-query models
keep 12 KB a token at 1 B parameters. Nothing has to be moved when a sequence joins or leaves a batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from starling_server.static import Static


class Joined(Cache):
    """What a model takes for its cache; row i extends `caches[i]` by the first `counts[i]` of its padded ids."""

    def __init__(self, caches: Sequence[Static], counts: Sequence[int]) -> None:
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
