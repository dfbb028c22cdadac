"""From a GGUF file's fields to a config.json, and the sentences for files that are no base for completion."""

from math import prod
from typing import Any

from starling_server.errors import BaseModelError
from starling_server.models.families import table as families
from starling_server.models.families.family import Family, Spelling
from starling_server.models.gguf_base import vocabulary
from starling_server.models.gguf_base.header import Header
from starling_server.untrusted import shown

FIM_BASES = "Qwen2.5-Coder, StarCoder2 or Seed-Coder"
EMBEDDING = ("bert", "embedding", "t5encoder")
IMAGE = ("clip", "vl", "mllama", "flux", "sd1", "sd3", "sdxl", "image", "siglip")
ORDER_FIELD, ORDER = "starling.order", "starling_order"
"""Our own field, which an export writes, and its key in config.json: the order of prompts that an adapter taught."""
EMBEDDING_TABLE, HEAD, OWN_FREQUENCIES = "token_embd.weight", "output.weight", "rope_freqs.weight"


def configuration(name: str, header: Header) -> tuple[dict[str, Any], Spelling]:
    """The content of config.json for the base `name`, and how it spells its sentinels.

    Raises BaseModelError for a file that is no base for completion.
    """
    family = _family(name, header)
    table = header.tensors.get(EMBEDDING_TABLE)
    if table is None or len(table.shape) != 2:
        raise BaseModelError(f"Base {name!r} holds a vocabulary and no weights: take a file with a whole model.")
    words = vocabulary.tokens(name, header.fields)
    written = _spelling(name, family, header, words)
    config = _sizes(family, header) | _switches(family, header)
    if ORDER_FIELD in header.fields:
        config[ORDER] = header.fields[ORDER_FIELD]
    return config | {
        "architectures": [], "model_type": family.model_type, family.keys.vocabulary: table.shape[0],
        "tie_word_embeddings": HEAD not in header.tensors, "dtype": "bfloat16",
        "bos_token_id": words.index(written.begin or written.end), "eos_token_id": words.index(written.end),
    }, written  # fmt: skip


def weights(header: Header) -> int:
    """Number of weights."""
    return sum(prod(tensor.shape) for tensor in header.tensors.values())


def _spelling(name: str, family: Family, header: Header, words: list[str]) -> Spelling:
    """The family's spelling that the vocabulary holds; raises BaseModelError where it holds none."""
    try:
        return families.spelling(family.model_type, vocabulary.Names(words))
    except BaseModelError as error:
        called = header.fields.get("general.name")
        raise BaseModelError(
            f"Base {name!r}{f' ({shown(called)})' if called else ''} has no fill-in-the-middle tokens, so it cannot "
            f"complete inside a text: take one that has them, such as {FIM_BASES}."
        ) from error


def _family(name: str, header: Header) -> Family:
    """The family's row; raises BaseModelError where the file is another kind of model."""
    architecture, kind = header.architecture, str(header.fields.get("general.type", "model"))
    rows = {row.gguf.architecture: row for row in families.FAMILIES.values() if row.gguf is not None}
    known = architecture in rows
    if kind == "adapter":
        what = "is a LoRA adapter and no base"
    elif kind == "mmproj" or (not known and any(word in architecture for word in IMAGE)):
        what = "is an image model or the image part of one"
    elif header.of("pooling_type") or (not known and any(word in architecture for word in EMBEDDING)):
        what = "is an embedding model, which writes no text"
    elif not known:
        what = f"is a {shown(architecture) or 'nameless'!r} model, and supported are {', '.join(sorted(rows))}"
    else:
        return rows[architecture]
    raise BaseModelError(f"Base {name!r} {what}: take a code model with fill-in-the-middle, such as {FIM_BASES}.")


def _sizes(family: Family, header: Header) -> dict[str, Any]:
    """Numbers; those that are missing are left out, and `bases` names them."""
    keys = family.keys
    epsilon = "attention.layer_norm_rms_epsilon" if family.norm == "rms" else "attention.layer_norm_epsilon"
    named = {
        keys.width: "embedding_length", keys.positions: "context_length", keys.layers: "block_count",
        keys.heads: "attention.head_count", keys.inner: "feed_forward_length", keys.epsilon: epsilon,
        keys.key_heads: "attention.head_count_kv", keys.head: "attention.key_length",
        keys.window: "attention.sliding_window",
    }  # fmt: skip
    found = {key: header.of(field) for key, field in named.items() if key is not None}
    return {key: _short(value) for key, value in found.items() if value is not None}


def _short(value: Any) -> Any:
    """A float32 in the digits that it was written with."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _switches(family: Family, header: Header) -> dict[str, Any]:
    """Settings that follow from the tensors and from the architecture."""
    settings: dict[str, Any] = {setting.key: setting.default for setting in family.gguf.fixed} if family.gguf else {}
    for layer in family.linear:
        if isinstance(layer.bias, str):
            settings[layer.bias] = f"blk.0.{layer.gguf}.bias" in header.tensors
    if family.keys.multi_query:
        settings[family.keys.multi_query] = header.of("attention.head_count_kv") == 1
    if family.keys.window_switch:
        settings[family.keys.window_switch] = header.of("attention.sliding_window") is not None
    if family.rotary:
        settings["rope_parameters"] = _rotations(header)
    return settings


def _rotations(header: Header) -> dict[str, Any]:
    """transformers' `rope_parameters`."""
    kind = str(header.of("rope.scaling.type") or "none")
    if OWN_FREQUENCIES in header.tensors:
        kind = OWN_FREQUENCIES
    settings = {"rope_type": "default" if kind == "none" else kind, "rope_theta": header.of("rope.freq_base") or 1e4}
    factor, learnt = header.of("rope.scaling.factor"), header.of("rope.scaling.original_context_length")
    more = {"factor": factor, "original_max_position_embeddings": learnt}
    return settings | ({} if kind == "none" else {key: value for key, value in more.items() if value is not None})
