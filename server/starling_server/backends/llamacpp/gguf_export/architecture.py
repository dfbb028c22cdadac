"""The metadata that llama.cpp needs of a base, and the settings with which it would compute something else.

Keys, names and shapes follow llama.cpp's own converter and loader (conversion/starcoder.py, src/models/starcoder.cpp,
src/models/starcoder2.cpp). Those compute one form of each architecture and ignore settings that ask for another form:
such bases are refused here. The forms are in the family's row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter, TensorNameMap, get_tensor_name_map
from gguf.constants import MODEL_ARCH_NAMES

from starling_server.errors import BaseModelError
from starling_server.models.bases import Base
from starling_server.models.families import Family
from starling_server.untrusted import shown

SUFFIXES = (".weight", ".bias")
POSITIONS = "position_embd.weight"
_ARCHITECTURES = {name: number for number, name in MODEL_ARCH_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A base in llama.cpp's terms."""

    family: Family
    context: int
    """Positions. The attention window where that is smaller: llama.cpp has none for StarCoder2."""
    width: int
    feed_forward: int
    blocks: int
    heads: int
    key_heads: int
    epsilon: float
    rope_base: float | None
    """Theta of the rotary positions; None for learnt ones."""
    tied: bool
    """Whether the head is the token embedding."""

    @property
    def name(self) -> str:
        """llama.cpp's name of the architecture."""
        return self.family.gguf.architecture

    @property
    def names(self) -> TensorNameMap:
        """From Hugging Face's tensor names to GGUF's."""
        return get_tensor_name_map(_ARCHITECTURES[self.name], self.blocks)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Ends of tensor names that are not written."""
        return (*self.family.unread, *(("lm_head.weight",) if self.tied else ()))

    @property
    def needed(self) -> Iterator[str]:
        """Tensors without which llama.cpp loads nothing."""
        family = self.family
        yield "token_embd.weight"
        if not family.rotary:
            yield POSITIONS
        if not self.tied:
            yield "output.weight"
        yield from _with_bias("output_norm", family.norm_bias)
        for block in range(self.blocks):
            for norm in family.gguf.norms:
                yield from _with_bias(f"blk.{block}.{norm}", family.norm_bias)
            for layer in family.linear:
                yield from _with_bias(f"blk.{block}.{layer.gguf}", layer.bias)

    def write(self, writer: GGUFWriter) -> None:
        """Add the keys that the loader reads."""
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.width)
        writer.add_feed_forward_length(self.feed_forward)
        writer.add_block_count(self.blocks)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.key_heads)
        (writer.add_layer_norm_rms_eps if self.family.norm == "rms" else writer.add_layer_norm_eps)(self.epsilon)
        if self.rope_base is not None:
            writer.add_rope_freq_base(self.rope_base)
            writer.add_rope_dimension_count(self.width // self.heads)


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
    for setting in family.gguf.fixed:
        value = config.get(setting.key, setting.default)
        _check(base, value in setting.allowed, shown(f"{setting.key} {value!r}"))
    sizes = family.shape(config)
    _check(base, config.get("head_dim") in (None, sizes.width // sizes.heads), "head_dim")
    return Architecture(
        family=family,
        context=base.context,
        width=sizes.width,
        feed_forward=sizes.inner,
        blocks=sizes.layers,
        heads=sizes.heads,
        key_heads=sizes.key_heads,
        epsilon=config.get(family.keys.epsilon, 1e-5),
        rope_base=_rope_base(base) if family.rotary else None,
        tied=sizes.tied,
    )


def _rope_base(base: Base) -> float:
    """Theta of plain rotary positions."""
    rope: dict[str, Any] = base.config.get("rope_parameters") or base.config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    _check(base, kind == "default", f"rope_type {kind!r}")
    return float(rope.get("rope_theta") or base.config.get("rope_theta") or 10_000.0)


def _with_bias(name: str, bias: bool) -> Iterator[str]:
    return (f"{name}{suffix}" for suffix in (SUFFIXES if bias else SUFFIXES[:1]))


def _check(base: Base, holds: bool, what: str) -> None:
    if not holds:
        raise _unsupported(base, what)


def _unsupported(base: Base, what: str) -> BaseModelError:
    return BaseModelError(
        f"Base {base.id!r} cannot be written as GGUF ({what}): use --merge without --gguf, or --runner torch."
    )
