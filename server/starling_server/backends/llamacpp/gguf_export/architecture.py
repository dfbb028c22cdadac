"""The metadata that llama.cpp needs of a base, and the settings with which it would compute something else.

Keys, names and shapes follow llama.cpp's own converter (conversion/) and loader (src/models/). Those compute one form
of each architecture and ignore settings that ask for another form: such bases are refused here. The forms are in the
family's row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter, RopeScalingType, TensorNameMap, get_tensor_name_map
from gguf.constants import MODEL_ARCH_NAMES

from starling_server.errors import BaseModelError
from starling_server.models.bases import Base
from starling_server.models.families.family import Family, Gguf, Shape
from starling_server.models.safetensors_numpy import Floats
from starling_server.untrusted import shown

SUFFIXES = (".weight", ".bias")
POSITIONS = "position_embd.weight"
_ARCHITECTURES = {name: number for number, name in MODEL_ARCH_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A base in llama.cpp's terms."""

    family: Family
    terms: Gguf
    shape: Shape
    context: int
    """Positions. The attention window where that is smaller: llama.cpp has none for StarCoder2."""
    epsilon: float
    rope: "Rope | None"
    """None for learnt positions."""

    @property
    def name(self) -> str:
        """llama.cpp's name of the architecture."""
        return self.terms.architecture

    @property
    def names(self) -> TensorNameMap:
        """From Hugging Face's tensor names to GGUF's."""
        return get_tensor_name_map(_ARCHITECTURES[self.name], self.shape.layers)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Ends of tensor names that are not written."""
        return (*self.family.unread, *(("lm_head.weight",) if self.shape.tied else ()))

    @property
    def needed(self) -> Iterator[str]:
        """Tensors without which llama.cpp loads nothing."""
        family = self.family
        yield "token_embd.weight"
        if not family.rotary:
            yield POSITIONS
        if not self.shape.tied:
            yield "output.weight"
        yield from _with_bias("output_norm", family.norm_bias)
        for block in range(self.shape.layers):
            for norm in (*family.norms, *family.head_norms):
                yield from _with_bias(f"blk.{block}.{norm}", family.norm_bias)
            for layer in self.shape.parts:
                yield from _with_bias(f"blk.{block}.{layer.gguf}", bool(layer.bias))

    def rows(self, name: str, values: Floats) -> Floats:
        """A tensor, or the B of its LoRA, with its rows in llama.cpp's order.

        transformers rotates the first half of a head with its second, llama.cpp's `llama` each number with its
        neighbour. Without this the output would be wrong and nothing would say so.
        """
        layer = next((part for part in self.shape.parts if f".{part.gguf}." in name), None)
        if layer is None or layer.gguf not in self.terms.interleaved:
            return values
        heads = self.shape.size(layer.outputs) // self.shape.head
        halves = values.reshape(heads, 2, self.shape.head // 2, *values.shape[1:])
        return halves.swapaxes(1, 2).reshape(values.shape)

    def write(self, writer: GGUFWriter) -> None:
        """Add the keys that the loader reads."""
        sizes = self.shape
        writer.add_context_length(self.context)
        writer.add_embedding_length(sizes.width)
        writer.add_feed_forward_length(sizes.inner)
        writer.add_block_count(sizes.layers)
        writer.add_head_count(sizes.heads)
        writer.add_head_count_kv(sizes.key_heads)
        (writer.add_layer_norm_rms_eps if self.family.norm == "rms" else writer.add_layer_norm_eps)(self.epsilon)
        if sizes.queries != sizes.width:
            writer.add_key_length(sizes.head)
            writer.add_value_length(sizes.head)
        if self.rope is not None:
            self.rope.write(writer)
            writer.add_rope_dimension_count(sizes.head)


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions."""

    base: float
    """Theta."""
    factor: float | None
    """Positions are divided by it; None without scaling."""

    def write(self, writer: GGUFWriter) -> None:
        """Add the keys that the loader reads."""
        writer.add_rope_freq_base(self.base)
        if self.factor is not None:
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(self.factor)


def of(base: Base) -> Architecture:
    """The architecture of `base`; raises BaseModelError for one that llama.cpp would compute differently."""
    try:
        return _architecture(base)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BaseModelError(
            f"Base {base.id!r} has a damaged config.json ({shown(error)}): download the base again."
        ) from error


def _architecture(base: Base) -> Architecture:
    config, family = base.config, base.family
    if family.gguf is None:
        raise _unsupported(base, f"no export of {family.model_type} models is written yet")
    for setting in family.gguf.fixed:
        value = config.get(setting.key, setting.default)
        _check(base, value in setting.allowed, shown(f"{setting.key} {value!r}"))
    sizes = family.shape(config)
    if family.keys.head is None:
        _check(base, config.get("head_dim") in (None, sizes.head), "head_dim")
    return Architecture(
        family=family,
        terms=family.gguf,
        shape=sizes,
        context=base.context,
        epsilon=config.get(family.keys.epsilon, family.epsilon),
        rope=_rope(base) if family.rotary else None,
    )


def _rope(base: Base) -> Rope:
    """Plain rotary positions, or evenly scaled ones."""
    rope: dict[str, Any] = base.config.get("rope_parameters") or base.config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    _check(base, kind in ("default", "linear"), f"rope_type {kind!r}")
    theta = float(rope.get("rope_theta") or base.config.get("rope_theta") or 10_000.0)
    return Rope(theta, float(rope["factor"]) if kind == "linear" else None)


def _with_bias(name: str, bias: bool) -> Iterator[str]:
    return (f"{name}{suffix}" for suffix in (SUFFIXES if bias else SUFFIXES[:1]))


def _check(base: Base, holds: bool, what: str) -> None:
    if not holds:
        raise _unsupported(base, what)


def _unsupported(base: Base, what: str) -> BaseModelError:
    return BaseModelError(
        f"Base {base.id!r} cannot be written as GGUF ({what}): use --merge without --gguf, or --runner torch."
    )
