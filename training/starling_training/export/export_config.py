"""The settings of one export, and the choice of the weights to merge onto."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from starling_server.backends.llamacpp.gguf_export import Kind
from starling_server.errors import UsageError
from starling_server.models.manifest import Manifest

Onto = Literal["bf16", "dequantised"]
"""The weights that the adapter is added to: the base's own in 16 bits, or its 4-bit weights dequantised."""
Merge = Literal["bf16", "dequantised", "auto"]
MERGES: tuple[Merge, ...] = ("auto", "bf16", "dequantised")


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """One run of `train-copilot export`."""

    adapter: str
    """Name or folder."""
    merge: Merge | None
    """None: no merged model."""
    gguf: bool
    output: Path | None = None
    """None: a folder with the adapter's name in the current one."""
    overwrite: bool = False
    base: str = "auto"
    """Location of the adapter's base; `auto`: the location recorded in training."""
    gguf_type: Kind = "f16"
    holes: int = 100
    """Held-out holes for the choice by `auto`; 0 disables the measurement."""
    device: str = "auto"

    def __post_init__(self) -> None:
        """Raise UsageError, naming the flags, for settings without any output or that cannot work."""
        if self.merge is None and not self.gguf:
            raise UsageError("Nothing to write: add --merge (for transformers), --gguf (for llama.cpp), or both.")
        if self.holes < 0:
            raise UsageError("--holes must be 0 (measure nothing) or more.")


OVER_FOUR_BITS = "adapter over the base in 4 bits"
"""Key in `Choice.losses` for the adapter over the 4-bit base, as in serving."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The weights to merge onto, and the reason."""

    onto: Onto
    reason: str
    losses: Mapping[str, float] = field(default_factory=dict[str, float])
    """Nats per held-out token of each variant measured; empty without a measurement."""


def trained_over(manifest: Manifest) -> Onto:
    """The form of the base's weights that the adapter was trained over."""
    training = manifest.training
    sixteen = training.get("method") == "lora" or not training.get("quantized", True)
    return "bf16" if sixteen else "dequantised"


def unmeasured(manifest: Manifest, why: str) -> Choice:
    """The form that the adapter was trained over, chosen without a measurement."""
    form = {"bf16": "16-bit", "dequantised": "4-bit"}
    onto = trained_over(manifest)
    return Choice(onto, f"it was trained over {form[onto]} weights, and {why}")


def by_loss(losses: Mapping[Onto, float], served: float) -> Choice:
    """The candidate with the lower loss; `served` is the loss of the adapter over the 4-bit base."""
    onto = min(losses, key=lambda name: losses[name])
    figures = {OVER_FOUR_BITS: served, **{f"merged onto {name}": value for name, value in losses.items()}}
    return Choice(onto, "it has the lower loss on held-out middles", figures)
