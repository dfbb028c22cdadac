"""The torch runner: a transformers model, quantized or not, with LoRA layers beside its linear layers.

How one sequence decodes can be replaced by a `DecodeStep`; everything else is the same on all devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from starling_server.backends.torch import sampling as draws
from starling_server.backends.torch.kv_cache import BatchCache, SequenceCache, restored_on_failure
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.lora_layers import LoraLayers
from starling_server.engine.protocols import AdapterId, Feed, Likely, Rows, Sampler, Sampling
from starling_server.models.adapter_memory import Need

CHUNK_CPU, CHUNK_GPU = 64, 512
ROWS, DRAFT = 8, 3
"""Products with 1 to 8 rows take about the time of reading the weights (`docs/experiments.md`)."""


@dataclass(slots=True)
class TorchCache:
    """Keys and values of one sequence, and the adapter they were computed under."""

    adapter: AdapterId | None
    kv: SequenceCache


class DecodeStep(Protocol):
    """A faster forward for the few ids that a decoding step adds to one sequence."""

    def step(self, kv: SequenceCache, ids: Sequence[int]) -> Tensor | None:
        """Extend `kv` by `ids`; returns logits after each id, shape (ids, vocab).

        Returns None, with `kv` unchanged, where an ordinary forward is needed. Raises MemoryError, with `kv` unchanged,
        if evicting cached sequences may help.
        """
        ...

    def forget_layers(self) -> None:
        """The model's layers or the addresses of the adapters' weights have changed."""
        ...

    def release(self, kv: SequenceCache) -> None:
        """Drop the reference to a closed sequence."""
        ...


class TorchRunner:
    """Implements `protocols.Runner` and `adapter_memory.HoldsAdapters`. Not thread-safe: one thread owns the model."""

    def __init__(self, loaded: Loaded, decode: DecodeStep | None = None) -> None:
        """With `decode`, which is tried first for a single sequence, all adapters have the same addresses."""
        self.context = loaded.base.context
        self.chunk = CHUNK_GPU if loaded.device.type == "cuda" else CHUNK_CPU
        self.rows, self.draft = ROWS, DRAFT
        self._device = loaded.device
        self._model: Any = loaded.model
        self._decode = decode
        self.layers = LoraLayers(loaded.model, fixed=decode is not None)
        """The adapters in memory."""

    @property
    def adapters(self) -> tuple[AdapterId, ...]:
        """Names of the adapters in memory."""
        return self.layers.names

    def need(self, path: Path) -> Need:
        """Memory that the adapter in `path` would need; raises AdapterError if its shapes do not fit."""
        return Need(*self.layers.need(path))

    def add_adapter(self, name: AdapterId, path: Path) -> None:
        """Load the adapter in `path` as `name`; raises AdapterError if its shapes do not fit.

        Graphs are captured again if its rank is larger than all before or it targets other layers.
        """
        version = self.layers.version
        self.layers.add(name, path)
        if self._decode and self.layers.version != version:
            self._decode.forget_layers()

    def remove_adapter(self, name: AdapterId) -> None:
        """Unload an adapter whose caches are all closed."""
        self.layers.remove(name)

    def adapter_bytes(self, name: AdapterId) -> int:
        """Bytes of an adapter in memory; all have the same size."""
        return self.layers.nbytes if name in self.layers.names else 0

    def open(self, adapter: AdapterId | None) -> TorchCache:
        """An empty cache."""
        return TorchCache(adapter, SequenceCache(self._model.config.num_hidden_layers))

    @torch.inference_mode()
    def feed(self, feeds: Sequence[Feed]) -> list[Rows]:
        """One forward; for each feed a tensor of shape (keep, vocab)."""
        self.layers.use(feeds[0].cache.adapter)
        if len(feeds) == 1 and self._decode:
            logits = self._decode.step(feeds[0].cache.kv, feeds[0].ids)
            if logits is not None:
                return [logits[-feeds[0].keep :]]
        with restored_on_failure([feed.cache.kv for feed in feeds]):
            if len(feeds) == 1:
                return [self._forward(feeds[0].cache.kv, feeds[0].ids, feeds[0].keep)]
            return self._forward_batch(feeds)

    @torch.inference_mode()
    def score(self, adapter: AdapterId | None, ids: Sequence[int], start: int) -> list[float]:
        """Log-probability in nats of each of `ids[start:]` given all before it."""
        self.layers.use(adapter)
        logits = self._forward(self.open(adapter).kv, ids, len(ids) - start + 1)[:-1].float()
        targets = torch.tensor(ids[start:], device=logits.device)
        return torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0].tolist()

    def rewind(self, cache: TorchCache, length: int) -> None:
        """Truncate the cache to its first `length` tokens."""
        cache.kv.rewind(length)

    def fork(self, cache: TorchCache, length: int) -> TorchCache:
        """A copy of the first `length` tokens."""
        return TorchCache(cache.adapter, cache.kv.fork(length))

    def close(self, cache: TorchCache) -> None:
        """Drop what the decode step holds of it; its tensors are freed with the last reference."""
        if self._decode:
            self._decode.release(cache.kv)

    def nbytes(self, cache: TorchCache) -> int:
        """Bytes of all layers' keys and values, including unused room; without the decode step's fixed buffer."""
        return cache.kv.nbytes

    def sampler(self, sampling: Sampling) -> Sampler:
        """A sampler over logits of shape (vocab,)."""
        return draws.sampler(sampling)

    def likelihoods(self, logits: Tensor, token: int, most: int) -> Likely:
        """Log-probabilities of `token` and of the `most` likeliest ids."""
        return draws.likelihoods(logits, token, most)

    def _forward(self, kv: SequenceCache, ids: Sequence[int], keep: int) -> Tensor:
        """Logits of the last `keep` positions, shape (keep, vocab)."""
        tokens = torch.tensor([list(ids)], device=self._device)
        out = self._model(input_ids=tokens, past_key_values=kv, use_cache=True, logits_to_keep=keep)
        return out.logits[0]

    def _forward_batch(self, feeds: Sequence[Feed]) -> list[Rows]:
        """Several sequences as one batch: ids padded on the right, keys and values joined layer by layer."""
        batch = BatchCache([feed.cache.kv for feed in feeds], [len(feed.ids) for feed in feeds])
        ids = torch.zeros(len(feeds), batch.longest, dtype=torch.long)
        for row, feed in zip(ids, feeds, strict=True):
            row[: len(feed.ids)] = torch.tensor(list(feed.ids))
        positions = batch.positions().clamp(max=self.context - 1).to(self._device)
        out = self._model(
            input_ids=ids.to(self._device),
            attention_mask=batch.mask(self._model.dtype, self._device),
            position_ids=positions,
            past_key_values=batch,
            use_cache=True,
        )
        return [rows[len(feed.ids) - feed.keep : len(feed.ids)] for rows, feed in zip(out.logits, feeds, strict=True)]
