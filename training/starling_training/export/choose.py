"""Which weights an adapter is merged onto."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starling_server.manifest import Manifest
from starling_training.export.config import Onto

OVER_FOUR_BITS = "adapter over the base in 4 bits"
"""Beside the candidates in `Choice.losses`: what the adapter is served as."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the adapter is merged onto, and why."""

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
