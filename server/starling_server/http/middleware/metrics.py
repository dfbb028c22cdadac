"""Metrics in Prometheus' format; `deploy/grafana.json` plots them.

Label values are bounded: names of served adapters, and fixed sets of outcomes and routes; never client text.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest

from starling_server.completion.service import Service
from starling_server.models.adapters import BARE
from starling_server.schema import CompleteResponse

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds: a suggestion feels immediate below 0.2 and late above 0.5."""
PREFIX = "starling_"


class Metrics:
    """The metrics of one server. Thread-safe."""

    def __init__(self, service: Callable[[], Service | None]) -> None:
        """`service` returns the current service; gauges read it when `/metrics` is scraped."""
        self.registry = CollectorRegistry()
        self._service = service
        self.requests = self._counter("http_requests", "HTTP answers.", "route", "method", "status")
        self.outcomes = self._counter("completions", "Suggestions asked for, by how they ended.", "adapter", "outcome")
        self.tokens = self._counter("tokens", "Tokens, by what became of them.", "adapter", "kind")
        self.reloads = self._counter("model_reloads", "Times the model was loaded again: its thread hung or died.")
        self.events = self._counter("events", "What became of suggestions, as editors tell.", "adapter", "event")
        self.queue = self._histogram("queue", "Waiting for the model.")
        self.prefill = self._histogram("prefill", "Reading the prompt.")
        self.decode = self._histogram("decode", "Writing the suggestion.")
        self.total = self._histogram("total", "From request to answer.")
        self._gauges()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def answered(self, response: CompleteResponse) -> None:
        """Count a response."""
        adapter, used, times = response.adapter or BARE, response.usage, response.timings
        self.outcomes.labels(adapter, response.choices[0].finish_reason).inc()
        for kind in ("prompt", "cached", "completion", "drafted", "accepted"):
            self.tokens.labels(adapter, kind).inc(getattr(used, f"{kind}_tokens"))
        self.total.labels(adapter).observe(times.total_ms / 1e3)
        if used.prompt_tokens:  # the model ran
            self.queue.labels(adapter).observe(times.queue_ms / 1e3)
            self.prefill.labels(adapter).observe(times.prefill_ms / 1e3)
            self.decode.labels(adapter).observe(times.decode_ms / 1e3)

    def failed(self, adapter: str | None, outcome: str) -> None:
        """Count a request without an answer; `outcome` is `cancelled` or an error's kind."""
        self.outcomes.labels(adapter or BARE, outcome).inc()

    def text(self) -> bytes:
        """The page at `/metrics`."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"{PREFIX}{name}_seconds", text, ["adapter"], buckets=BUCKETS, registry=self.registry)

    def _gauges(self) -> None:
        self._gauge("ready", "1 while the model answers.", lambda _: 1)
        self._gauge("queue_depth", "Requests that wait for the model.", lambda service: service.scheduler.queued)
        self._gauge("running", "Requests that the model works on.", lambda service: service.scheduler.running)
        self._gauge("cache_bytes", "Keys and values that are kept.", lambda service: service.backend.engine.kept_bytes)
        self._gauge("adapters_loaded", "Adapters in memory.", lambda service: service.adapters.loaded)
        self._gauge("adapter_bytes", "Memory of the adapters.", lambda service: service.adapters.nbytes)

    def _gauge(self, name: str, text: str, of: Callable[[Service], float]) -> None:
        def now() -> float:
            service = self._service()
            return 0.0 if service is None else float(of(service))

        Gauge(PREFIX + name, text, registry=self.registry).set_function(now)
