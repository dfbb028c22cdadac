"""A LoRA adapter's matrices as numpy arrays, with the factor that each product is added with. No torch.

What is more than `weight + factor * B @ A` (DoRA, biases, whole modules saved beside) is refused: whoever merged or
exported such an adapter without it would get another model, and no error.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from starling_server import json_file, tensors
from starling_server.adapters import WEIGHTS, unreadable
from starling_server.errors import AdapterError
from starling_server.tensors import Floats

CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
"""What peft puts before the base's own names."""
BEYOND = (
    "alora_invocation_tokens", "arrow_config", "fan_in_fan_out", "kasa_config", "layer_replication", "lora_bias",
    "modules_to_save", "monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora",
    "use_qalora", "velora_config",
)  # fmt: skip
"""Settings of peft's LoraConfig that make a layer more than `weight + factor * B @ A`."""
_BOUNDED = re.compile(r"(?=.{0,200}\Z)[^*+{}]*(?:(?<!\))[*+][^*+{}]*){0,2}")
"""A pattern with at most two repetitions, none of a group: tried in the square of a name's length at most."""
_MATRIX = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True, slots=True)
class Pair:
    """What one layer's weight gains: `factor * b @ a`."""

    a: Floats
    """(rank, inputs)."""
    b: Floats
    """(outputs, rank)."""
    factor: float
    """alpha / rank, or alpha / sqrt(rank) for rsLoRA, each layer with its own rank and alpha."""

    @property
    def rank(self) -> int:
        """Rows of `a`."""
        return self.a.shape[0]

    def delta(self) -> Floats:
        """What is added to the weight, (outputs, inputs)."""
        return self.factor * (self.b @ self.a)


@dataclass(frozen=True, slots=True)
class Lora:
    """A whole adapter."""

    alpha: float
    """The configuration's; single layers may have another, which their `factor` counts in."""
    pairs: Mapping[str, Pair]
    """By the layer's name in the base, `transformer.h.0.attn.c_attn` for example."""


def read(adapter: Path) -> Lora:
    """The adapter in this folder; raises AdapterError where it is damaged or more than LoRA."""
    config = _config(adapter)
    try:
        matrices = {name: stored.read() for name, stored in tensors.listed([adapter / WEIGHTS]).items()}
    except OSError as error:
        raise unreadable(adapter / WEIGHTS, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError(f"{adapter / WEIGHTS} is damaged: train the adapter again.") from error
    try:
        pairs = {module: _pair(adapter, module, matrices, config) for module in _modules(adapter, matrices)}
    except (ValueError, TypeError, AttributeError, re.error) as error:
        raise AdapterError(f"{adapter / CONFIG} is damaged ({error}): train the adapter again.") from error
    return Lora(float(config["lora_alpha"]), pairs)


def _config(adapter: Path) -> dict[str, Any]:
    try:
        config = json_file.read(adapter / CONFIG)
        kind = config["peft_type"]
        beyond = [name for name in BEYOND if config.get(name)]
        float(config["lora_alpha"])
    except PermissionError as error:
        raise unreadable(adapter / CONFIG, error) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError(f"{adapter / CONFIG} is missing or damaged: train the adapter again.") from error
    if config.get("bias", "none") != "none":
        beyond.append("bias")
    if kind != "LORA" or beyond:
        raise AdapterError(
            f"The adapter in {adapter} is more than a LoRA ({', '.join(beyond) or kind}), which is not supported: "
            "train it with train-copilot."
        )
    return config


def _modules(adapter: Path, names: Iterable[str]) -> list[str]:
    """The layers, in the file's order; raises AdapterError for a tensor that is no LoRA matrix."""
    modules = dict[str, None]()
    for name in names:
        match = _MATRIX.fullmatch(name)
        if not match:
            raise AdapterError(
                f"The adapter in {adapter} holds {name}, which no LoRA has: train it with train-copilot."
            )
        modules[match["module"].removeprefix(PREFIX)] = None
    return list(modules)


def _pair(adapter: Path, module: str, matrices: Mapping[str, Floats], config: Mapping[str, Any]) -> Pair:
    sides = [matrices.get(f"{prefix}{module}.lora_{side}.weight") for side in "AB" for prefix in (PREFIX, "")]
    found = [side for side in sides if side is not None and side.ndim == 2]
    if len(found) != 2 or found[0].shape[0] != found[1].shape[1]:
        raise AdapterError(f"The adapter in {adapter} has no whole pair for {module}: train it again.")
    a, b = found
    rank = a.shape[0]
    alpha = float(_by_pattern(config.get("alpha_pattern") or {}, module, config["lora_alpha"]))
    return Pair(a, b, alpha / (sqrt(rank) if config.get("use_rslora") else rank))


def _by_pattern(patterns: Mapping[str, Any], module: str, otherwise: float) -> float:
    """The value of the first pattern that ends `module`, as peft's `get_pattern_key` chooses it.

    Raises ValueError for a pattern that might take for ever.
    """
    for pattern, value in patterns.items():
        if not _BOUNDED.fullmatch(pattern):
            raise ValueError("a pattern of layers has more than names, choices and two wildcards")
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return otherwise
