"""The settings of one export, and the choice of the weights to merge onto."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from starling_server.backends.llamacpp.gguf_export import Kind
from starling_server.errors import UsageError
from starling_server.models.manifest import Manifest

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
        """Raise UsageError for settings that write nothing or cannot work, naming the flags."""
        if self.merge is None and not self.gguf:
            raise UsageError("Nothing to write: add --merge (for transformers), --gguf (for llama.cpp), or both.")
        if self.holes < 0:
            raise UsageError("--holes must be 0 (measure nothing) or more.")


OVER_FOUR_BITS = "adapter over the base in 4 bits"
"""Beside the candidates in `Choice.losses`: what the adapter is served as."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The weights to merge onto, and the reason."""

    onto: Onto
    reason: str
    losses: Mapping[str, float] = field(default_factory=dict[str, float])
    """Nats per held-out token, by what was measured; empty where nothing was."""


def trained_over(manifest: Manifest) -> Onto:
    """The form of the base's weights that the adapter was trained over."""
    training = manifest.training
    sixteen = training.get("method") == "lora" or not training.get("quantized", True)
    return "bf16" if sixteen else "dequantised"


def unmeasured(manifest: Manifest, why: str) -> Choice:
    """The form that the adapter was trained over, since there is nothing to measure with."""
    form = {"bf16": "16-bit", "dequantised": "4-bit"}
    onto = trained_over(manifest)
    return Choice(onto, f"it was trained over {form[onto]} weights, and {why}")


def by_loss(losses: Mapping[Onto, float], served: float) -> Choice:
    """The candidate with the lower loss; `served` is the adapter's own over 4 bits."""
    onto = min(losses, key=lambda name: losses[name])
    figures = {OVER_FOUR_BITS: served, **{f"merged onto {name}": value for name, value in losses.items()}}
    return Choice(onto, "it has the lower loss on held-out middles", figures)
