"""A LoRA adapter's matrices as numpy arrays, with the factor that each product is added with. No torch.

Adapters that are more than `weight + factor * B @ A` (DoRA, biases, whole modules) are refused: merging or exporting
only their matrices would silently produce another model.

An adapter may come from anywhere. `outline` checks it by its configuration and the header of its weights, before it
allocates memory by its sizes, and never passes a pattern from it to `re` unchanged.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from starling_server import untrusted
from starling_server.errors import AdapterError
from starling_server.models import safetensors_numpy
from starling_server.models.adapters import CONFIG, WEIGHTS
from starling_server.models.safetensors_numpy import Floats, Stored
from starling_server.untrusted import Unfit, refusal, shown

PREFIX = "base_model.model."
"""peft's prefix of the base's own names."""
BEYOND = (
    "alora_invocation_tokens", "arrow_config", "fan_in_fan_out", "kasa_config", "layer_replication", "lora_bias",
    "modules_to_save", "monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "use_dora",
    "use_qalora", "velora_config",
)  # fmt: skip
"""Settings of peft's LoraConfig that make a layer more than `weight + factor * B @ A`."""
CONFIG_BYTES = 1 << 20
MOST_LAYERS, MOST_PATTERNS = 4096, 256
"""A model with 80 blocks of 7 matrices has 560 layers; each pattern is matched with all of them."""
MOST_ALPHA = 1e6
LARGEST = 65504.0
"""The largest float16: larger numbers become infinite where forward passes compute in float16."""
AGAIN = "train the adapter again"
_MATRIX = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_PATTERN = re.compile(r"\^?(?:[\w-]|\\\.|\.\*?)+")
"""Names with dots and `.*`: the part of regular expressions that matches in time bounded by its length."""
Shape = tuple[int, int]
"""Outputs and inputs of a layer."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The matrices of one layer, which add `factor * b @ a` to its weight."""

    a: Floats
    """(rank, inputs)."""
    b: Floats
    """(outputs, rank)."""
    factor: float
    """alpha / rank, or alpha / sqrt(rank) for rsLoRA; rank and alpha may differ between layers."""

    @property
    def rank(self) -> int:
        """Rows of `a`."""
        return self.a.shape[0]

    def delta(self) -> Floats:
        """The matrix that is added to the weight, (outputs, inputs)."""
        return self.factor * (self.b @ self.a)


@dataclass(frozen=True, slots=True)
class Lora:
    """A whole adapter."""

    alpha: float
    """The configuration's value; a layer's own alpha is included in its `factor`."""
    pairs: Mapping[str, Pair]
    """By the layer's name in the base, `transformer.h.0.attn.c_attn` for example."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """One layer's matrices, not read yet."""

    a: Stored
    b: Stored
    factor: float

    @property
    def rank(self) -> int:
        """Rows of `a`."""
        return self.a.shape[0]

    @property
    def shape(self) -> Shape:
        """Of the layer."""
        return self.b.shape[0], self.a.shape[1]

    def read(self) -> Pair:
        """The matrices; raises OSError, and Unfit for numbers that are not finite or too large."""
        pair = Pair(self.a.read(), self.b.read(), self.factor)
        for values, factor in ((pair.a, 1.0), (pair.b, self.factor)):
            largest = float(np.abs(values).max(initial=0)) * factor  # NaN where there is one
            if not largest <= LARGEST:
                raise Unfit("has a number that is not finite or too large to compute with")
        return pair


@dataclass(frozen=True, slots=True)
class Outline:
    """An adapter's configuration and the header of its weights."""

    folder: Path
    alpha: float
    pairs: Mapping[str, Sketch]

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max(pair.rank for pair in self.pairs.values())

    @property
    def floats(self) -> int:
        """Numbers in all its matrices."""
        return sum(pair.rank * sum(pair.shape) for pair in self.pairs.values())

    def check(self, layer: Callable[[str], Shape | None]) -> None:
        """Raise AdapterError unless every pair fits the base's layer of its name, whose shape `layer` returns."""
        for module, pair in self.pairs.items():
            shape = layer(module)
            if shape is None:
                raise AdapterError(
                    f"{shown(self.folder)} targets {shown(module)}, which this base does not have: train it again."
                )
            if shape != pair.shape:
                raise AdapterError(
                    f"{shown(self.folder)} does not fit this base's {module} of shape {shape}: train it again."
                )

    def read(self) -> Lora:
        """All matrices; raises AdapterError where they cannot be read or are not finite."""
        try:
            return Lora(self.alpha, {module: pair.read() for module, pair in self.pairs.items()})
        except Unfit as error:
            raise AdapterError(refusal(self.folder / WEIGHTS, error, AGAIN)) from error
        except ValueError as error:
            raise AdapterError(f"{shown(self.folder / WEIGHTS)} is damaged ({shown(error)}): {AGAIN}.") from error
        except OSError as error:
            raise AdapterError(refusal(self.folder / WEIGHTS, error, AGAIN)) from error


@dataclass(frozen=True, slots=True)
class _Config:
    """The settings that are used of peft's configuration."""

    rank: int
    alpha: float
    rslora: bool
    ranks: "_Patterns"
    alphas: "_Patterns"


class _Patterns:
    """peft's values by patterns of layer names; raises Unfit for a pattern that is more than a name with `.*`."""

    def __init__(self, name: str, given: object) -> None:
        if not isinstance(given, dict) or len(given) > MOST_PATTERNS:  # pyright: ignore[reportUnknownArgumentType]
            raise Unfit(f"has a {name} that is not an object of at most {MOST_PATTERNS} names")
        values: dict[Any, Any] = given
        self._known = [(_compiled(name, key), _number(f"{name}'s values", value)) for key, value in values.items()]

    def of(self, module: str, otherwise: float) -> float:
        """The value of the first pattern that matches the end of `module`, like peft's `get_pattern_key`."""
        return next((value for pattern, value in self._known if pattern.match(f".{module}")), otherwise)


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    """The pattern for a layer's name behind a dot. `fnmatch` writes expressions that do not backtrack."""
    if len(pattern) > untrusted.MOST_SHOWN or not _PATTERN.fullmatch(pattern):
        raise Unfit(f"has {shown(pattern)} in {name}, which is not a layer's name with dots and '.*'")
    glob = re.sub(r"\\\.|\.\*|\.", lambda found: {".*": "*", ".": "?"}.get(found[0], "."), pattern.removeprefix("^"))
    return re.compile(fnmatch.translate(f"{'' if pattern.startswith('^') else '*'}.{glob}"))


def outline(adapter: Path) -> Outline:
    """The adapter in this folder without its matrices; raises AdapterError where it is damaged or more than a LoRA.

    The limits above bound time and memory, whatever the files contain.
    """
    config = _config(adapter)
    try:
        matrices = safetensors_numpy.listed([untrusted.inside(adapter / WEIGHTS, adapter)])
    except (OSError, Unfit) as error:
        raise AdapterError(refusal(adapter / WEIGHTS, error, AGAIN)) from error
    pairs = {module: _pair(adapter, module, matrices, config) for module in _modules(adapter, matrices)}
    return Outline(adapter, config.alpha, pairs)


def read(adapter: Path) -> Lora:
    """The adapter in this folder; raises AdapterError where it is damaged or more than a LoRA."""
    return outline(adapter).read()


def _config(adapter: Path) -> _Config:
    path = adapter / CONFIG
    try:
        config = untrusted.parsed(untrusted.read(untrusted.inside(path, adapter), CONFIG_BYTES))
        _check_kind(adapter, config)
        rank = config.get("r", 8)  # peft's own default
        if type(rank) is not int or rank < 1:
            raise Unfit(f"has {shown(rank)} as the rank r, which is not a whole number above 0")
        return _Config(
            rank,
            _number("lora_alpha", config.get("lora_alpha")),
            bool(config.get("use_rslora")),
            _Patterns("rank_pattern", config.get("rank_pattern") or {}),
            _Patterns("alpha_pattern", config.get("alpha_pattern") or {}),
        )
    except (OSError, Unfit) as error:
        raise AdapterError(refusal(path, error, AGAIN)) from error


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_ALPHA:
        raise Unfit(f"has {shown(value)} in {name}, which is not a number above 0 and up to {MOST_ALPHA:,.0f}")
    return float(value)


def _check_kind(adapter: Path, config: Mapping[str, Any]) -> None:
    """Raise AdapterError for more than a LoRA."""
    kind, beyond = config.get("peft_type"), [name for name in BEYOND if config.get(name)]
    if config.get("bias", "none") != "none":
        beyond.append("bias")
    if kind != "LORA" or beyond:
        raise AdapterError(
            f"The adapter in {shown(adapter)} is more than a LoRA ({', '.join(beyond) or shown(kind)}), which is not "
            "supported: train it with train-copilot."
        )


def _modules(adapter: Path, names: Iterable[str]) -> list[str]:
    """The layers in the file's order; raises AdapterError for a tensor that is not a LoRA matrix."""
    modules = dict[str, None]()
    for name in names:
        match = _MATRIX.fullmatch(name)
        if not match:
            raise AdapterError(
                f"The adapter in {shown(adapter)} has the tensor {shown(name)}, which a LoRA does not "
                "have: train it with train-copilot."
            )
        modules[match["module"].removeprefix(PREFIX)] = None
    if not 0 < len(modules) <= MOST_LAYERS:
        what = f"matrices of more than {MOST_LAYERS} layers" if modules else "no matrices"
        raise AdapterError(f"The adapter in {shown(adapter)} holds {what}: {AGAIN}.")
    return list(modules)


def _pair(adapter: Path, module: str, matrices: Mapping[str, Stored], config: _Config) -> Sketch:
    sides = [matrices.get(f"{prefix}{module}.lora_{side}.weight") for side in "AB" for prefix in (PREFIX, "")]
    found = [side for side in sides if side is not None and len(side.shape) == 2]
    if len(found) != 2 or found[0].shape[0] != found[1].shape[1]:
        raise AdapterError(
            f"The adapter in {shown(adapter)} has no matching lora_A and lora_B for {shown(module)}: train it again."
        )
    a, b = found
    rank, said = a.shape[0], config.ranks.of(module, config.rank)
    if odd := next((side.dtype for side in found if not side.is_float), None):
        raise AdapterError(f"The adapter in {shown(adapter)} has numbers of type {odd}: save them as float32.")
    if rank != said or not 0 < rank <= max(a.shape[1], b.shape[0]):
        raise AdapterError(
            f"The adapter in {shown(adapter)} has a rank of {rank} at {shown(module)}, where {CONFIG} says {said:g} "
            f"and the layer has {max(a.shape[1], b.shape[0])} rows or columns: {AGAIN}."
        )
    alpha = config.alphas.of(module, config.alpha)
    return Sketch(a, b, alpha / (sqrt(rank) if config.rslora else rank))
