"""Interface of every package in `backends/`: a base that is ready to generate."""

from dataclasses import dataclass

from starling_server.engine.engine import Generates
from starling_server.models.adapter_memory import HoldsAdapters
from starling_server.models.bases import Base
from starling_server.prompt.fim import Fim, Vocabulary


@dataclass(frozen=True, slots=True)
class Backend:
    """A loaded base, or one that another server has loaded."""

    base: Base
    fingerprint: str | None
    """Of the base's weights; None where only its vocabulary is on this disk."""
    engine: Generates
    tokenizer: Vocabulary
    fim: Fim
    adapters: HoldsAdapters
    device: str
    """Device name for display."""

    @property
    def id(self) -> str:
        """Name of the base in responses."""
        return self.base.id
