"""The runner for CUDA GPUs: what decodes one sequence replays a graph, everything else is the torch runner's.

At batch size 1 a GPU waits for the host: a forward is some thousand kernels, and launching them takes longer than
reading the weights. A graph launches all of them at once. Prefill and shared forwards have work enough to hide that.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from starling_server.backends.torch.cuda_graphs import Capture, StepGraphs
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchCache, TorchRunner, unchanged_on_failure
from starling_server.engine.protocols import AdapterId, Feed, Likely, Rows, Sampler, Sampling
from starling_server.models.adapter_memory import Need

log = logging.getLogger(__name__)


class CudaRunner:
    """Implements `runner.Runner`. Not thread-safe: one thread owns the model."""

    def __init__(self, loaded: Loaded, capture: Capture) -> None:
        """`bench.capturing(...)`, or `bench.uncaptured` to do the same steps without graphs."""
        self._torch = TorchRunner(loaded, fixed=True)
        self.context, self.chunk = self._torch.context, self._torch.chunk
        self.rows, self.draft = self._torch.rows, self._torch.draft
        self._graphs: StepGraphs | None = StepGraphs(loaded.model, self.context, capture)
        """None where graphs were given up."""
        self._version = self._torch.layers.version
        self._short_of_memory = False

    @property
    def adapters(self) -> tuple[AdapterId, ...]:
        """Names of the adapters in memory."""
        return self._torch.adapters

    def need(self, path: Path) -> Need:
        """What the adapter in `path` would take; raises AdapterError where it does not fit."""
        return self._torch.need(path)

    def add_adapter(self, name: AdapterId, path: Path) -> None:
        """Load the adapter in `path` beside the base under `name`; raises AdapterError where it does not fit.

        One of a larger rank than all before, or of other layers, has every graph captured anew.
        """
        self._torch.add_adapter(name, path)
        if self._graphs and self._torch.layers.version != self._version:
            self._graphs.forget()
            self._version = self._torch.layers.version

    def remove_adapter(self, name: AdapterId) -> None:
        """Let go of an adapter whose caches are all closed; graphs stay as they are."""
        self._torch.remove_adapter(name)

    def adapter_bytes(self, name: AdapterId) -> int:
        """Bytes of an adapter in memory."""
        return self._torch.adapter_bytes(name)

    def open(self, adapter: AdapterId | None) -> TorchCache:
        """An empty cache."""
        return self._torch.open(adapter)

    def feed(self, feeds: Sequence[Feed]) -> list[Rows]:
        """One forward; for each feed a tensor of shape (keep, vocab)."""
        first = feeds[0]
        if len(feeds) == 1 and self._graphs and self._graphs.takes(first.cache.kv, len(first.ids)):
            rows = self._step(self._graphs, first)
            if rows is not None:
                return [rows]
        return self._torch.feed(feeds)

    def score(self, adapter: AdapterId | None, ids: Sequence[int], start: int) -> list[float]:
        """Log-probability in nats of each of `ids[start:]` given all before it."""
        return self._torch.score(adapter, ids, start)

    def rewind(self, cache: TorchCache, length: int) -> None:
        """Keep the first `length` tokens."""
        self._torch.rewind(cache, length)

    def fork(self, cache: TorchCache, length: int) -> TorchCache:
        """A copy of the first `length` tokens."""
        return self._torch.fork(cache, length)

    def close(self, cache: TorchCache) -> None:
        """Its tensors go, and the bench keeps none of them."""
        if self._graphs:
            self._graphs.release(cache.kv)

    def nbytes(self, cache: TorchCache) -> int:
        """Bytes of all layers' keys and values, without the bench's copy, which is there anyway."""
        return self._torch.nbytes(cache)

    def sampler(self, sampling: Sampling) -> Sampler:
        """Draws ids from logits of shape (vocab,)."""
        return self._torch.sampler(sampling)

    def likelihoods(self, logits: torch.Tensor, token: int, most: int) -> Likely:
        """How likely `token` was."""
        return self._torch.likelihoods(logits, token, most)

    @torch.inference_mode()
    def _step(self, bench: StepGraphs, feed: Feed) -> Rows | None:
        """Logits, shape (keep, vocab); None where a graph cannot be captured here, which is then never tried again.

        Raises MemoryError once: where less kept memory did not help either, there are no graphs.
        """
        self._torch.layers.use(feed.cache.adapter)
        try:
            with unchanged_on_failure([feed.cache]):
                rows = bench.step(feed.cache.kv, feed.ids)[-feed.keep :]
            self._short_of_memory = False
            return rows
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) and not self._short_of_memory:
                self._short_of_memory = True
                raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.warning("no CUDA graphs here (%s): decoding goes on without, more slowly", reason)
            self._graphs = None
            return None
