"""The completer interface: a model in this process, a running server, or the server shared by a user's editors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from starling_lsp.options import AUTO, Options
from starling_server.client import Client
from starling_server.schema import CompleteRequest, CompleteResponse


class Completer(Protocol):
    """Serves completion requests."""

    @property
    def base(self) -> str:
        """Id of the base in use."""
        ...

    @property
    def adapter(self) -> str | None:
        """The default adapter, for requests that name none."""
        ...

    @property
    def device(self) -> str:
        """The model's device or server address, for display."""
        ...

    @property
    def generations(self) -> tuple[int, int] | None:
        """Number of generations started so far and running now; None if the model is in another process."""
        ...

    def adapter_of(self, around: Sequence[Path]) -> str | None:
        """The adapter name for requests from a document in these folders, innermost first."""
        ...

    async def complete(self, request: CompleteRequest) -> CompleteResponse:
        """Complete `request`; cancelling the task stops the model. Raises RequestError."""
        ...

    def remembers(self, request: CompleteRequest) -> bool:
        """Whether the reply is cached, so that the model is not needed."""
        ...

    async def close(self) -> None:
        """Release the model or the connection."""
        ...


async def connect(options: Options, roots: Sequence[Path]) -> Completer:
    """A ready completer for these options; raises StarlingError."""
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
