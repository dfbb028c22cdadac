"""The settings of a run by flag name, each with the origin of its value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from starling_training.config import DataConfig, LoraConfig, OptimConfig, TrainConfig
from starling_training.sources import origins

CHOSEN = "chosen for this base and machine"
Where = Mapping[str, str]
"""The origin of each value by setting, from the command line."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the resolved configuration."""

    name: str
    """Flag name without leading dashes."""
    value: str
    origin: str
    """A flag, an environment variable by name, a preset, the default, or a value chosen for base and machine."""


def resolved(asked: TrainConfig, config: TrainConfig, where: Where) -> tuple[Setting, ...]:
    """The settings of `config`, to which `asked` was resolved."""
    before = values(asked)
    return tuple(
        Setting(name.replace("_", "-"), _text(value), where.get(name, "default") if before[name] == value else CHOSEN)
        for name, value in values(config).items()
    )


def values(config: TrainConfig) -> dict[str, Any]:
    """Every setting by its field name."""
    top = {
        "sources": " ".join(map(origins.shown, config.sources)),
        "name": config.name,
        "output": config.output,
        "holes": config.holes,
        "canaries": config.canaries,
        "fail_on_leak": config.fail_on_leak,
    }
    model = {"base": config.model.base, "device": config.model.device, "quantize": config.model.quantize}
    top |= {"weights": ",".join(f"{weight:g}" for weight in config.weights)} if config.weights else {}
    groups: Sequence[DataConfig | LoraConfig | OptimConfig] = (config.data, config.lora, config.optim)
    return top | model | {item.name: getattr(group, item.name) for group in groups for item in fields(group)}


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
