"""What llama.cpp must know of a base besides its tensors, and what it would compute otherwise than transformers.

Keys, names and shapes follow llama.cpp's own converter and loader (conversion/starcoder.py, src/models/starcoder.cpp,
src/models/starcoder2.cpp). Those compute one form of each architecture and take no notice of settings that mean
another: such bases are refused here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gguf import MODEL_ARCH, GGUFWriter, TensorNameMap, get_tensor_name_map
from gguf.constants import MODEL_ARCH_NAMES

from starling_server.errors import BaseModelError
from starling_server.models.bases import Base
from starling_server.untrusted import shown

TANH_GELUS = frozenset({"gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"})
"""llama.cpp always takes the tanh form. The exact one, which StarCoder's config names, differs by 0.0005 at most."""
SUFFIXES = (".weight", ".bias")


@dataclass(frozen=True, slots=True)
class Architecture:
    """A base as llama.cpp counts it."""

    arch: MODEL_ARCH
    context: int
    """Positions. StarCoder2's attention window where that is smaller: llama.cpp knows none for it."""
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
        """As llama.cpp spells it."""
        return MODEL_ARCH_NAMES[self.arch]

    @property
    def names(self) -> TensorNameMap:
        """From Hugging Face's tensor names to GGUF's."""
        return get_tensor_name_map(self.arch, self.blocks)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Ends of names that old checkpoints hold and no forward reads."""
        return (".attn.bias", ".attn.masked_bias", *(("lm_head.weight",) if self.tied else ()))

    def write(self, writer: GGUFWriter) -> None:
        """Add the keys that the loader wants."""
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.width)
        writer.add_feed_forward_length(self.feed_forward)
        writer.add_block_count(self.blocks)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.key_heads)
        writer.add_layer_norm_eps(self.epsilon)
        if self.rope_base is not None:
            writer.add_rope_freq_base(self.rope_base)
            writer.add_rope_dimension_count(self.width // self.heads)


def of(base: Base) -> Architecture:
    """The architecture of `base`; raises BaseModelError for one that llama.cpp would compute otherwise."""
    known: dict[str, Callable[[Base], Architecture]] = {"gpt_bigcode": _gpt_bigcode, "starcoder2": _starcoder2}
    if base.model_type not in known:
        raise _unsupported(base, f"model_type {base.model_type!r}; supported are {', '.join(known)}")
    try:
        return known[base.model_type](base)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BaseModelError(
            f"Base {base.id!r} has a damaged config.json ({shown(error)}): download the base again."
        ) from error


def _gpt_bigcode(base: Base) -> Architecture:
    config = base.config
    width = config["n_embd"]
    _check(base, config.get("multi_query", True), "multi_query false")
    _check(base, config.get("scale_attn_weights", True), "scale_attn_weights false")
    _check_activation(base, config.get("activation_function", "gelu_pytorch_tanh"))
    return Architecture(
        arch=MODEL_ARCH.STARCODER,
        context=config["n_positions"],
        width=width,
        feed_forward=config.get("n_inner") or 4 * width,
        blocks=config["n_layer"],
        heads=config["n_head"],
        key_heads=1,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        rope_base=None,
        tied=config.get("tie_word_embeddings", True),
    )


def _starcoder2(base: Base) -> Architecture:
    config = base.config
    rope: dict[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    _check(base, kind == "default", f"rope_type {kind!r}")
    _check(base, config.get("use_bias", True), "use_bias false")
    _check(base, config.get("norm_type", "layer_norm") == "layer_norm", "norm_type other than layer_norm")
    _check(base, config.get("head_dim") in (None, config["hidden_size"] // config["num_attention_heads"]), "head_dim")
    _check_activation(base, config.get("hidden_act", "gelu_pytorch_tanh"))
    return Architecture(
        arch=MODEL_ARCH.STARCODER2,
        context=base.context,
        width=config["hidden_size"],
        feed_forward=config["intermediate_size"],
        blocks=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        key_heads=config["num_key_value_heads"],
        epsilon=config.get("norm_epsilon", 1e-5),
        rope_base=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
        tied=config.get("tie_word_embeddings", True),
    )


def _check_activation(base: Base, name: str) -> None:
    _check(base, name in TANH_GELUS, f"activation {name!r}")


def _check(base: Base, holds: bool, what: str) -> None:
    if not holds:
        raise _unsupported(base, what)


def _unsupported(base: Base, what: str) -> BaseModelError:
    return BaseModelError(
        f"Base {base.id!r} cannot be written as GGUF ({what}): use --merge without --gguf, or --runner torch."
    )
