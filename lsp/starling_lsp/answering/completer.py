"""Who answers: a model in this process, a running server, or the server that all of a user's editors share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from starling_lsp.options import AUTO, Options
from starling_server.client import Client
from starling_server.schema import CompleteRequest, CompleteResponse


class Completer(Protocol):
    """Answers requests."""

    @property
    def base(self) -> str:
        """The base that answers."""
        ...

    @property
    def adapter(self) -> str | None:
        """The adapter of requests that name none."""
        ...

    @property
    def device(self) -> str:
        """Where the model computes, for a person."""
        ...

    @property
    def generations(self) -> tuple[int, int] | None:
        """How many the model has begun so far and how many run now; None where it is not here."""
        ...

    def adapter_of(self, folder: Path | None) -> str | None:
        """What requests for documents of this folder should name as their adapter."""
        ...

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Answer `request`; cancelling the task stops the model. Raises RequestError."""
        ...

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether the answer is known without asking the model."""
        ...

    async def close(self) -> None:
        """Let go of the model or the connection."""
        ...


async def connect(options: Options, roots: Sequence[Path]) -> Completer:
    """A completer that is ready; raises StarlingError."""
    if options.server == AUTO:
        from starling_lsp.answering.shared import Shared

        return await Shared.connect(options, roots)
    if options.server:
        from starling_lsp.answering.remote import Remote

        token_file = Path(options.token_file) if options.token_file else None
        return await Remote.connect(Client(options.server, token_file), options.adapter, roots)
    from starling_lsp.answering.local import Local

    local = Local(options, roots)
    await local.load()
    return local
