"""The default runner: a transformers model, 4-bit or not, with adapters layers in beside it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from starling_server.backends.torch import sampling as draws
from starling_server.backends.torch.kv_cache import BatchCache, SequenceCache
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


class TorchRunner:
    """Implements `runner.Runner`. Not thread-safe: one thread owns the model."""

    def __init__(self, loaded: Loaded, fixed: bool = False) -> None:
        """With `fixed` all adapters are read from the same addresses (`layers`)."""
        self.context = loaded.base.context
        self.chunk = CHUNK_GPU if loaded.device.type == "cuda" else CHUNK_CPU
        self.rows, self.draft = ROWS, DRAFT
        self._device = loaded.device
        self._model: Any = loaded.model
        self.layers = LoraLayers(loaded.model, fixed)
        """The adapters in memory."""

    @property
    def adapters(self) -> tuple[AdapterId, ...]:
        """Names of the adapters in memory."""
        return self.layers.names

    def need(self, path: Path) -> Need:
        """What the adapter in `path` would take; raises AdapterError where it does not fit."""
        return Need(*self.layers.need(path))

    def add_adapter(self, name: AdapterId, path: Path) -> None:
        """Load the adapter in `path` beside the base under `name`; raises AdapterError where it does not fit."""
        self.layers.add(name, path)

    def remove_adapter(self, name: AdapterId) -> None:
        """Let go of an adapter whose caches are all closed."""
        self.layers.remove(name)

    def adapter_bytes(self, name: AdapterId) -> int:
        """Bytes of an adapter in memory; all take the same."""
        return self.layers.nbytes if name in self.layers.names else 0

    def open(self, adapter: AdapterId | None) -> TorchCache:
        """An empty cache."""
        return TorchCache(adapter, SequenceCache(self._model.config.num_hidden_layers))

    @torch.inference_mode()
    def feed(self, feeds: Sequence[Feed]) -> list[Rows]:
        """One forward; for each feed a tensor of shape (keep, vocab)."""
        with unchanged_on_failure([feed.cache for feed in feeds]):
            if len(feeds) == 1:
                return [self._forward(feeds[0].cache, feeds[0].ids, feeds[0].keep)]
            return self._forward_batch(feeds)

    @torch.inference_mode()
    def score(self, adapter: AdapterId | None, ids: Sequence[int], start: int) -> list[float]:
        """Log-probability in nats of each of `ids[start:]` given all before it."""
        logits = self._forward(self.open(adapter), ids, len(ids) - start + 1)[:-1].float()
        targets = torch.tensor(ids[start:], device=logits.device)
        return torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0].tolist()

    def rewind(self, cache: TorchCache, length: int) -> None:
        """Keep the first `length` tokens."""
        cache.kv.rewind(length)

    def fork(self, cache: TorchCache, length: int) -> TorchCache:
        """A copy of the first `length` tokens."""
        return TorchCache(cache.adapter, cache.kv.fork(length))

    def close(self, cache: TorchCache) -> None:
        """Nothing: its tensors go with it."""

    def nbytes(self, cache: TorchCache) -> int:
        """Bytes of all layers' keys and values, with the room that is left in them."""
        return cache.kv.nbytes

    def sampler(self, sampling: Sampling) -> Sampler:
        """Draws ids from logits of shape (vocab,)."""
        return draws.sampler(sampling)

    def likelihoods(self, logits: torch.Tensor, token: int, most: int) -> Likely:
        """How likely `token` was."""
        return draws.likelihoods(logits, token, most)

    def _forward(self, cache: TorchCache, ids: Sequence[int], keep: int) -> torch.Tensor:
        """Logits of the last `keep` positions, shape (keep, vocab)."""
        self.layers.use(cache.adapter)
        tokens = torch.tensor([list(ids)], device=self._device)
        out = self._model(input_ids=tokens, past_key_values=cache.kv, use_cache=True, logits_to_keep=keep)
        return out.logits[0]

    def _forward_batch(self, feeds: Sequence[Feed]) -> list[Rows]:
        """Several sequences as one batch: ids padded on the right, keys and values batch layer by layer."""
        self.layers.use(feeds[0].cache.adapter)
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


@contextmanager
def unchanged_on_failure(caches: Sequence[TorchCache]) -> Generator[None]:
    """Where a forward fails, take back what it has kept; out of memory is MemoryError."""
    lengths = [cache.kv.length for cache in caches]
    try:
        yield
    except Exception as error:
        for cache, length in zip(caches, lengths, strict=True):
            cache.kv.rewind(length)
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise
