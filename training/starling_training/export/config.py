"""What one export is asked to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from starling_server.errors import UsageError
from starling_server.gguf_export import Kind

Onto = Literal["bf16", "dequantised"]
"""The weights that the adapter is added to: the base's own in 16 bits, or what its 4-bit form multiplies with."""
Merge = Literal["bf16", "dequantised", "auto"]
MERGES: tuple[Merge, ...] = ("auto", "bf16", "dequantised")


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """One run of `train-copilot export`."""

    adapter: str
    """Its name or its folder."""
    merge: Merge | None
    """None: no merged model."""
    gguf: bool
    output: Path | None = None
    """None: a folder of the adapter's name in the current one."""
    overwrite: bool = False
    base: str = "auto"
    """Where the adapter's base is; `auto`: where it was."""
    gguf_type: Kind = "f16"
    holes: int = 100
    """Held-out holes that `auto` chooses by; with 0 it does not measure."""
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what asks for nothing or cannot work, naming the flags."""
        if self.merge is None and not self.gguf:
            raise UsageError("Say what to write: --merge (a model for transformers), --gguf (for llama.cpp), or both.")
        if self.holes < 0:
            raise UsageError("--holes must be 0 (measure nothing) or more.")
