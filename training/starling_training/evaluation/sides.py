"""The sides of a comparison: base and adapter in this process, a running serve-copilot, or another server."""

import re
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from starling_server.client import Client
from starling_server.config import ModelConfig
from starling_server.context.block import TOKENS
from starling_server.errors import AdapterError, UsageError
from starling_server.models import adapters
from starling_server.models.adapters import BARE, Adapter
from starling_training.examples.others import Kind, Others
from starling_training.scoring import remote
from starling_training.scoring.engines import PLAIN, Engine, InProcess, Manner, in_process, served
from starling_training.scoring.judge import GoOn, answer, both
from starling_training.scoring.trials import Placed, Trial, truth
from starling_training.sources.clean import Document
from starling_training.sources.origins import shown

HERE = "in-process"
_OTHERS = re.compile(r"(?P<shape>openai|infill):(?P<url>https?://\S+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """The engine, base and adapters to evaluate."""

    engine: str
    """`in-process`, the URL of a serve-copilot, `openai:URL` or `infill:URL`."""
    model: ModelConfig
    adapter: str | None
    """A name or a folder; for a server, the server's name of the adapter."""
    against: str | None = None
    """Compared with instead of the bare base: another adapter, or a model on an OpenAI server."""
    context_tokens: int = 2048
    max_tokens: int = 64
    template: str = ""
    context: Kind | None = None
    """Pieces of other files in requests; None sends them where a side in this process has learnt to read them."""
    repository_tokens: int | None = None
    """Max tokens of them in a prompt, on both sides; None is as many as each has learnt."""

    def __post_init__(self) -> None:
        """Raise UsageError for unsupported combinations, naming the flag."""
        if self.engine != HERE and not _OTHERS.fullmatch(self.engine) and not re.match(r"https?://", self.engine):
            raise UsageError(
                f"--engine {shown(self.engine)} is not an engine: use in-process, http://HOST:PORT of a serve-copilot, "
                "openai:http://HOST:PORT/v1 or infill:http://HOST:PORT."
            )
        if self.template and not ("{prefix}" in self.template and "{suffix}" in self.template):
            raise UsageError("--fim-prompt must hold {prefix} and {suffix}.")
        if self.context not in (None, "off") and self.engine.startswith("openai:"):
            raise UsageError(
                f"--context {self.context} needs a server that takes other files, and OpenAI's API has no place for "
                "them: leave out --context, or use another --engine."
            )

    def others(self, sides: "Sequence[Side]", learnt: Sequence[Document], asked: Sequence[Document]) -> Others | None:
        """Pieces of the `learnt` documents for holes in the `asked` ones; None where no side gets any."""
        reads = max((side.engine.repository_tokens for side in sides if isinstance(side.engine, InProcess)), default=0)
        if self.context == "off" or (self.context is None and not reads):
            return None
        return Others(learnt, asked, self.repository_tokens or reads or TOKENS, self.context or "on")


@dataclass(frozen=True, slots=True)
class Side:
    """One engine in a comparison."""

    name: str
    engine: Engine


def trained(asked: Asked) -> Adapter | None:
    """The adapter on this disk; None without an adapter or if only the server has it. Raises AdapterError."""
    if asked.adapter is None or _OTHERS.fullmatch(asked.engine):
        return None
    try:
        return adapters.find(asked.adapter)
    except AdapterError:
        if asked.engine == HERE:
            raise
        return None


@asynccontextmanager
async def opened(asked: Asked) -> AsyncGenerator[list[Side]]:
    """One or two sides, ready for requests; raises UsageError, AdapterError, RequestError."""
    other = _OTHERS.fullmatch(asked.engine)
    if other and other["shape"] == "openai":
        async with remote.client(other["url"]) as http:
            first = asked.against or (None if asked.adapter else await remote.only_model(http))
            named = [name for name in (first, asked.adapter) if name]
            yield [Side(name, remote.OpenAi(http, name, asked.max_tokens, asked.template)) for name in named]
    elif other:
        async with remote.client(other["url"]) as http:
            yield [Side("infill", remote.Infill(http, asked.max_tokens))]
    elif asked.engine != HERE:
        async with Client(asked.engine) as client:
            await client.ready()
            named = [asked.against or BARE, *([asked.adapter] if asked.adapter else [])]
            yield [Side(name, remote.Served(client, name)) for name in named]
    else:
        with _here(asked) as sides:
            yield sides


@contextmanager
def _here(asked: Asked) -> Generator[list[Side]]:
    """In-process sides: the base, bare or with the adapter `against`, and the base with `adapter`."""
    adapter, against = trained(asked), adapters.find(asked.against) if asked.against else None
    found = [each for each in (against, adapter) if each]
    if len({each.path for each in found}) > len({each.name for each in found}):
        raise UsageError(f"Both adapters are called {found[0].name}: copy one to a folder of another name.")
    first = found[0] if found else None
    with served(asked.model, *_sizes(asked, found), first, asked.repository_tokens) as service:
        for other in found[1:]:
            service.adapters.ready(service.adapters.add(other))
        sides = [Side(against.name if against else BARE, in_process(service, against.name if against else BARE))]
        if adapter:
            sides.append(Side(adapter.name, in_process(service, adapter.name)))
        yield sides


def _sizes(asked: Asked, found: Sequence[Adapter]) -> tuple[int, int]:
    """Context and suggestion length in tokens, from the adapter; the bare base uses the same."""
    if not found:
        return asked.context_tokens, asked.max_tokens
    record = found[-1].manifest.fim
    return record.context_tokens, record.max_tokens


async def trials(sides: Sequence[Side], holes: Sequence[Placed], go_on: GoOn, manner: Manner = PLAIN) -> list[Trial]:
    """Both sides at each hole; a single side is used for both."""
    if len(sides) == 2:
        return await both(sides[0].engine, sides[1].engine, holes, go_on, manner)
    made = list[Trial]()
    for path, hole in holes:
        found = await answer(sides[0].engine, path, hole, manner)
        made.append(Trial(path, hole, truth(hole, manner.mode), found, found))
        if not go_on(len(made)):
            break
    return made


def with_near(found: Sequence[Trial], labels: Sequence[str]) -> list[Trial]:
    """Trials with the similarity label of their documents to the training data."""
    return [replace(trial, near=label) for trial, label in zip(found, labels, strict=False)]
