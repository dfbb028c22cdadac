"""The default runner: a transformers model, 4-bit or not, with peft adapters beside it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache

from starling_server.errors import AdapterError
from starling_server.joined import Joined
from starling_server.loading import Loaded, quiet
from starling_server.runner import Feed, Rows

CHUNK_CPU, CHUNK_GPU = 64, 512
ROWS, DRAFT = 8, 3
"""Products with 1 to 8 rows take about the time of reading the weights (`docs/experiments.md`)."""


@dataclass(slots=True)
class TorchCache:
    """Keys and values of one sequence, and the adapter they were computed under."""

    adapter: str | None
    kv: Any
    """A `DynamicCache`; its layers' types are unions too wide to check."""


class TorchRunner:
    """Implements `runner.Runner`. Not thread-safe: one thread owns the model."""

    def __init__(self, loaded: Loaded) -> None:
        self.context = loaded.base.context
        self.chunk = CHUNK_GPU if loaded.device.type == "cuda" else CHUNK_CPU
        self.rows, self.draft = ROWS, DRAFT
        self._device = loaded.device
        self._model: Any = loaded.model
        self._slots: dict[str, str] = {}
        self._active: str | None = None

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters in memory."""
        return tuple(self._slots)

    def add_adapter(self, name: str, path: Path) -> None:
        """Load the adapter in `path` beside the base under `name`; raises AdapterError where it does not fit."""
        slot = f"a{len(self._slots)}"  # peft's own names may not hold dots
        try:
            with quiet():
                if isinstance(self._model, PeftModel):
                    self._model.load_adapter(str(path), adapter_name=slot, is_trainable=False)
                else:
                    self._model = PeftModel.from_pretrained(self._model, str(path), adapter_name=slot)
        except Exception as error:  # peft, safetensors and torch each raise their own for a file that does not fit
            raise AdapterError(f"Adapter {name!r} in {path} cannot be loaded: train it again.") from error
        self._model.eval()
        self._slots[name] = slot
        self._active = "unknown"
        self._activate(None)

    def open(self, adapter: str | None) -> TorchCache:
        """An empty cache."""
        return TorchCache(adapter, DynamicCache())

    @torch.inference_mode()
    def feed(self, feeds: Sequence[Feed]) -> list[Rows]:
        """One forward; for each feed a tensor of shape (keep, vocab)."""
        with self._unchanged_on_failure([feed.cache for feed in feeds]):
            if len(feeds) == 1:
                return [self._forward(feeds[0].cache, feeds[0].ids, feeds[0].keep)]
            return self._forward_joined(feeds)

    @torch.inference_mode()
    def score(self, adapter: str | None, ids: Sequence[int], start: int) -> list[float]:
        """Log-probability in nats of each of `ids[start:]` given all before it."""
        logits = self._forward(self.open(adapter), ids, len(ids) - start + 1)[:-1].float()
        targets = torch.tensor(ids[start:], device=logits.device)
        return torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0].tolist()

    def rewind(self, cache: TorchCache, length: int) -> None:
        """Keep the first `length` tokens."""
        surplus = cache.kv.get_seq_length() - length
        if surplus:
            cache.kv.crop(-surplus)

    def fork(self, cache: TorchCache, length: int) -> TorchCache:
        """A copy of the first `length` tokens."""
        copy = DynamicCache()
        for index, layer in enumerate(cache.kv.layers):
            copy.update(layer.keys[..., :length, :].clone(), layer.values[..., :length, :].clone(), index)
        return TorchCache(cache.adapter, copy)

    def close(self, cache: TorchCache) -> None:
        """Nothing: its tensors go with it."""

    def nbytes(self, cache: TorchCache) -> int:
        """Bytes of all layers' keys and values."""
        tensors = [t for layer in cache.kv.layers if layer.is_initialized for t in (layer.keys, layer.values)]
        return sum(t.numel() * t.element_size() for t in tensors)

    def _forward(self, cache: TorchCache, ids: Sequence[int], keep: int) -> torch.Tensor:
        """Logits of the last `keep` positions, shape (keep, vocab)."""
        self._activate(cache.adapter)
        tokens = torch.tensor([list(ids)], device=self._device)
        out = self._model(input_ids=tokens, past_key_values=cache.kv, use_cache=True, logits_to_keep=keep)
        return out.logits[0]

    def _forward_joined(self, feeds: Sequence[Feed]) -> list[Rows]:
        """Several sequences as one batch: ids padded on the right, keys and values joined layer by layer."""
        self._activate(feeds[0].cache.adapter)
        joined = Joined([feed.cache.kv for feed in feeds], [len(feed.ids) for feed in feeds])
        ids = torch.zeros(len(feeds), joined.longest, dtype=torch.long)
        for row, feed in zip(ids, feeds, strict=True):
            row[: len(feed.ids)] = torch.tensor(list(feed.ids))
        positions = joined.positions().clamp(max=self.context - 1).to(self._device)
        out = self._model(
            input_ids=ids.to(self._device),
            attention_mask=joined.mask(self._model.dtype, self._device),
            position_ids=positions,
            past_key_values=joined,
            use_cache=True,
        )
        return [rows[len(feed.ids) - feed.keep : len(feed.ids)] for rows, feed in zip(out.logits, feeds, strict=True)]

    @contextmanager
    def _unchanged_on_failure(self, caches: Sequence[TorchCache]) -> Generator[None]:
        """Where a forward fails, take back what its first layers have kept; out of memory is MemoryError."""
        lengths = [cache.kv.get_seq_length() for cache in caches]
        try:
            yield
        except Exception as error:
            for cache, length in zip(caches, lengths, strict=True):
                _cut(cache.kv, length)
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise MemoryError(str(error)) from error
            raise

    def _activate(self, adapter: str | None) -> None:
        """Switch the adapter in all layers, only where it differs from the last forward's."""
        if adapter == self._active:
            return
        if adapter is None:
            self._model.base_model.disable_adapter_layers()
        else:
            self._model.base_model.enable_adapter_layers()
            self._model.set_adapter(self._slots[adapter], inference_mode=True)
        self._active = adapter


def _cut(kv: Any, length: int) -> None:
    """The first `length` tokens of each layer, however many it holds."""
    for layer in kv.layers:
        if layer.is_initialized and layer.keys.shape[-2] > length:
            layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]
