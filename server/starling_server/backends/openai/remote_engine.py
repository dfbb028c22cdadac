"""Engine that forwards jobs to another server through `client`, with the interface that `completion` expects.

Windows, prompts, stops, trimming, memory, queue and limits stay local; only the model is remote. The other server's
text is tokenised again, since the service works with ids: byte-level BPE round-trips every text.
"""

import hmac
import secrets
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from starling_server.backends.openai.client import News, Stream, Upstream, Wish
from starling_server.engine.engine import Job, Steps, Usage
from starling_server.engine.protocols import AdapterId, Likely, Poll
from starling_server.errors import UnknownAdapter
from starling_server.models.adapter_memory import Need
from starling_server.models.adapter_versions import AdapterKey
from starling_server.owners import Owner
from starling_server.prompt.fim import Tokenizer
from starling_server.schema import Finish

ROWS = 64
"""Max number of concurrent completions on the other server; further ones are queued here, newest first."""
WAIT_SECONDS = 0.005
"""Max time that the worker waits for news before it checks its queue and cancelled requests."""


class RemoteModels:
    """Limits of the other server, and its adapters."""

    draft = 0

    def __init__(self, context: int, upstream: Upstream) -> None:
        self.context, self.rows = context, ROWS
        self.names = dict[AdapterId | None, str]()
        """The other server's model names: key None for the base, else a version of an adapter added so far."""
        self._upstream = upstream

    def need(self, path: Path) -> Need:
        """Always zero: no memory is used locally."""
        return Need(0, 0)

    def add_adapter(self, name: AdapterKey, path: Path) -> None:
        """Check that the other server lists the adapter under its name.

        Raises UpstreamDown, and UnknownAdapter if it is not listed; the adapter stays registered, since the other
        server may load it later.
        """
        if name.name not in self._upstream.names():
            raise UnknownAdapter(
                f"{self._upstream.url} serves no model {name.name!r}: load {path} there under this name."
            )
        self.names[name] = name.name

    def remove_adapter(self, name: AdapterKey) -> None:
        """Remove the adapter locally; the other server is unchanged."""
        del self.names[name]

    def adapter_bytes(self, name: AdapterKey) -> int:
        """Always zero."""
        return 0


class RemoteGeneration:
    """One job that runs on the other server."""

    def __init__(self, job: Job, relay: "RemoteEngine") -> None:
        self.finish: Finish = "length"
        self.usage = Usage(prompt_tokens=len(job.prompt))
        self.likely = list[Likely]()
        self.prompt_likely = list[Likely]()
        self._job, self._relay = job, relay
        self._stream: Stream | None = None
        self._known: deque[int] = deque()
        self._ended = job.max_tokens == 0
        self._began = perf_counter()

    def next(self) -> Steps[int | None]:
        """The next token, None at the end; raises UpstreamDown."""
        while not self._known and not self._ended:
            reason = self._job.interrupted()
            news: News | None = None
            if reason is None:
                self._stream = self._stream or self._relay.start(self._job)
                news = yield Poll(self._stream)
            if news is None:
                self.finish = reason or self._job.interrupted() or "cancelled"
                self.close()
                return None
            self._hear(news)
        if not self._known:
            return None
        return self._known.popleft()

    def close(self) -> None:
        """Cancel the job; safe to call twice."""
        self._ended = True
        if self._stream is not None:
            self._relay.upstream.stop(self._stream)

    def _hear(self, news: News) -> None:
        """Record the stream's output; raises the stream's error, such as UpstreamDown."""
        if news.error is not None:
            raise news.error
        fresh = self._relay.tokenizer.encode("".join(news.texts), self._job.owner.client)
        spent = (perf_counter() - self._began) * 1e3
        if not self.usage.prefill_ms and (fresh or news.ended):
            self.usage.prefill_ms = spent
        self._known.extend(fresh)
        self.usage.completion_tokens += len(fresh)
        self.usage.decode_ms = spent - self.usage.prefill_ms
        if news.ended:
            self._ended = True
            self.finish = "stop" if news.finish == "stop" else "length"
            self._count(news.usage)

    def _count(self, told: dict[str, Any]) -> None:
        """Use the other server's own counts if it reports them."""
        self.usage.completion_tokens = told.get("completion_tokens") or self.usage.completion_tokens
        self.usage.cached_tokens = (told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


class RemoteEngine:
    """Starts jobs on another server."""

    kept_bytes = 0
    """Keys and values are kept on the other server."""
    has_logits = False

    def __init__(self, upstream: Upstream, runner: RemoteModels, tokenizer: Tokenizer) -> None:
        self.upstream, self.runner, self.tokenizer = upstream, runner, tokenizer
        self._secret = secrets.token_bytes(32)

    def check(self) -> None:
        """Raise UpstreamDown if the other server is not reachable."""
        self.upstream.check()

    def warm_up(self, token: int) -> None:
        """Do nothing: the other server warms itself up."""

    def forget(self, adapter: AdapterId) -> None:
        """Do nothing: the other server manages its own cache."""

    def generate(self, job: Job) -> RemoteGeneration:
        """Create a generation for `job`; the request is sent when its first token is requested."""
        return RemoteGeneration(job, self)

    def start(self, job: Job) -> Stream:
        """Send the request to the other server; raises UnknownAdapter if `job` needs the bare base and it has none."""
        draw, model = job.sampling, self.runner.names.get(job.adapter)
        if model is None:
            raise UnknownAdapter(
                f"{self.upstream.url} does not serve the base without an adapter: name an adapter, or "
                "start with --upstream-model."
            )
        stops = sorted(job.stops)
        salt = self._salt(job.owner)
        wish = Wish(model, job.prompt, job.max_tokens, draw.temperature, draw.top_p, draw.seed, stops, salt)
        return self.upstream.start(wish)

    def _salt(self, owner: Owner) -> str:
        """Salt that isolates `owner` in the other server's cache: 256 bits, which no client can guess or learn."""
        return hmac.new(self._secret, repr((owner.client, owner.salt)).encode(), "sha256").hexdigest()

    def feed(self, calls: Sequence[Poll]) -> list[News]:
        """News of each stream, after waiting `WAIT_SECONDS` at most."""
        streams = [call.stream for call in calls]
        self.upstream.wait(streams, WAIT_SECONDS)
        return [stream.take() for stream in streams]
