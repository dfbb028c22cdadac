"""The model families: one row each with everything that depends on a base's architecture.

A row says how the family spells its sentinels, which keys its `config.json` uses, which linear layers a block has, and
what llama.cpp calls all of that. The tokens that a base really has are found in its vocabulary by `resolve`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from starling_server.errors import BaseModelError
from starling_server.prompt.fim import Fim, Names, Order

Config = Mapping[str, Any]
"""A base's `config.json`."""
Size = Literal["width", "inner", "key", "fused"]
"""Of a layer's inputs or outputs: the hidden width, the feed-forward width, the keys of all key heads, or queries, keys
and values together."""
Norm = Literal["layer", "rms"]
"""LayerNorm, which has a bias, or RMSNorm, which has none."""
END = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a family writes its special tokens."""

    prefix: str
    middle: str
    suffix: str
    pad: str
    end: str = END
    """Follows every complete middle and every document."""
    repository: str | None = None
    file: str | None = None
    """Tokens that announce a repository and a file. Like `others`, they never belong to a middle, and each ends it."""
    others: tuple[str, ...] = ()
    unlike_text: tuple[str, ...] = ()
    """Those of `stops` that ordinary text never holds: `<file_sep>` is one, `<filename>` is not."""

    @property
    def sentinels(self) -> tuple[str, ...]:
        """Tokens that a base must have."""
        return self.prefix, self.middle, self.suffix, self.pad, self.end

    @property
    def text_sentinels(self) -> tuple[str, ...]:
        """Spellings that the text filter cuts at: ordinary text, such as a usage message, holds none of them."""
        return (*self.sentinels, *self.unlike_text)

    @property
    def stops(self) -> tuple[str, ...]:
        """Further tokens that end a middle where the vocabulary has them."""
        return tuple(name for name in (self.repository, self.file, *self.others) if name is not None)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of `config.json`."""

    width: str
    positions: str
    layers: str
    heads: str
    inner: str
    """Absent or null means four times the width."""
    epsilon: str
    key_heads: str | None = None
    """None where one key head serves all heads, or each has its own: see `multi_query`."""
    multi_query: str | None = None
    """A boolean, true by default."""
    window: str | None = None
    """The attention window, where the family has one."""
    vocabulary: str = "vocab_size"

    @property
    def limits(self) -> dict[str, int]:
        """The largest value of every number that memory depends on. The configuration may come from anywhere."""
        limits = {
            self.vocabulary: 1 << 20, self.width: 1 << 16, self.inner: 1 << 18, self.layers: 1 << 10,
            self.heads: 1 << 10, self.key_heads: 1 << 10, self.positions: 1 << 20, self.window: 1 << 20,
        }  # fmt: skip
        return {key: most for key, most in limits.items() if key is not None}


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer of a block: `all-linear` puts a LoRA on each of them."""

    name: str
    """As in the base's tensor names, behind the block's number."""
    inputs: Size
    outputs: Size
    gguf: str
    """llama.cpp's name for it."""
    bias: bool = True


@dataclass(frozen=True, slots=True)
class Fixed:
    """A setting of which llama.cpp computes these values only."""

    key: str
    default: object
    allowed: frozenset[object]


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """What splits text before merges: parts of a tokenizer.json, and llama.cpp's name for them."""

    name: str
    parts: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class Gguf:
    """llama.cpp's terms. Its tensor names follow from the architecture (`gguf.get_tensor_name_map`)."""

    architecture: str
    pre_tokenizers: tuple[PreTokenizer, ...]
    fixed: tuple[Fixed, ...]
    norms: tuple[str, ...] = ("attn_norm", "ffn_norm")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model that memory depends on."""

    layers: int
    width: int
    inner: int
    """Width inside the feed-forward layers."""
    heads: int
    key_heads: int
    vocabulary: int
    positions: int
    """Rows of the position embedding; 0 where positions are rotations."""
    tied: bool
    """Whether the head is the embedding."""
    parts: tuple[Layer, ...]
    """The linear layers of one block."""
    norms: int
    """Vectors of the hidden width in one block's norms."""

    @property
    def key(self) -> int:
        """Width of keys, and of values, of all key heads."""
        return self.width // self.heads * self.key_heads

    def size(self, of: Size) -> int:
        """Width of a layer's input or output."""
        return {"width": self.width, "inner": self.inner, "key": self.key, "fused": self.width + 2 * self.key}[of]

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the linear layers of one block."""
        return tuple((self.size(part.inputs), self.size(part.outputs)) for part in self.parts)

    @property
    def expanded(self) -> int:
        """Outputs of the feed-forward layers of one block before their activation; twice `inner` with a gate."""
        return sum(self.inner for part in self.parts if part.outputs == "inner")

    @property
    def linear(self) -> int:
        """Weights in the linear layers of all blocks."""
        return self.layers * sum(map(prod, self.matrices))

    @property
    def other(self) -> int:
        """Weights elsewhere: embeddings, an untied head, norms and biases."""
        rows = self.vocabulary * (1 if self.tied else 2) + self.positions
        biases = sum(self.size(part.outputs) for part in self.parts if part.bias)
        return rows * self.width + self.layers * (self.norms * self.width + biases)

    def adapter(self, rank: int) -> int:
        """Weights of a LoRA on every linear layer."""
        return self.layers * rank * sum(map(sum, self.matrices))


@dataclass(frozen=True, slots=True)
class Family:
    """One row."""

    model_type: str
    """Hugging Face's name of the architecture."""
    spellings: tuple[Spelling, ...]
    """The first whose tokens the vocabulary holds is taken."""
    order: Order
    """The order of prompts for the bare base and for new adapters."""
    keys: Keys
    blocks: str
    """Tensor names hold `.blocks.N.`."""
    embedding: str
    """The token embedding's weight ends with `.embedding.weight`."""
    position_embedding: str | None
    """The same for learnt positions; None where positions are rotations."""
    linear: tuple[Layer, ...]
    """The linear layers of a block."""
    gguf: Gguf
    norm: Norm = "layer"
    unread: tuple[str, ...] = ()
    """Ends of tensor names that old checkpoints hold and no forward reads."""

    @property
    def norm_bias(self) -> bool:
        """Whether norms add a bias."""
        return self.norm == "layer"

    @property
    def rotary(self) -> bool:
        """Whether positions are rotations of queries and keys."""
        return self.position_embedding is None

    def width(self, config: Config) -> int:
        """Numbers in a token's vector."""
        return config[self.keys.width]

    def context(self, config: Config) -> int:
        """Positions that may be used: what was learnt, or the attention window where it is smaller.

        A rolling window cannot be rewound, so it is never exceeded.
        """
        learnt = config[self.keys.positions]
        return min(learnt, (self.keys.window and config.get(self.keys.window)) or learnt)

    def shape(self, config: Config) -> Shape:
        """The sizes in a `config.json`; raises KeyError for one that is not there."""
        keys = self.keys
        return Shape(
            layers=config[keys.layers],
            width=config[keys.width],
            inner=config.get(keys.inner) or 4 * config[keys.width],
            heads=config[keys.heads],
            key_heads=self._key_heads(config),
            vocabulary=config[keys.vocabulary],
            positions=0 if self.rotary else config[keys.positions],
            tied=bool(config.get("tie_word_embeddings", True)),
            parts=self.linear,
            norms=len(self.gguf.norms) * (2 if self.norm_bias else 1),
        )

    def _key_heads(self, config: Config) -> int:
        if self.keys.key_heads is not None:
            return config[self.keys.key_heads]
        return 1 if self.keys.multi_query and config.get(self.keys.multi_query, True) else config[self.keys.heads]


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
BIGCODE_SPLITS = (PreTokenizer("starcoder", (DIGITS, BYTE_LEVEL)), PreTokenizer("gpt-2", (BYTE_LEVEL,)))
TANH_GELUS = frozenset[object]({"gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"})
"""llama.cpp always takes the tanh form. The exact one, which StarCoder's config names, differs by 0.0005 at most."""
ON = frozenset[object]({True})

GPT_BIGCODE = Family(
    model_type="gpt_bigcode",
    spellings=(
        Spelling(
            "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>",
            repository="<reponame>", file="<filename>", others=("<gh_stars>",),
        ),
        Spelling("<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"),  # SantaCoder's
    ),
    order="spm",
    keys=Keys(
        width="n_embd", positions="n_positions", layers="n_layer", heads="n_head", inner="n_inner",
        epsilon="layer_norm_epsilon", multi_query="multi_query",
    ),
    blocks="h",
    embedding="wte",
    position_embedding="wpe",
    linear=(
        Layer("attn.c_attn", "width", "fused", "attn_qkv"),
        Layer("attn.c_proj", "width", "width", "attn_output"),
        Layer("mlp.c_fc", "width", "inner", "ffn_up"),
        Layer("mlp.c_proj", "inner", "width", "ffn_down"),
    ),
    gguf=Gguf(
        "starcoder",
        BIGCODE_SPLITS,
        fixed=(
            Fixed("multi_query", True, ON),
            Fixed("scale_attn_weights", True, ON),
            Fixed("activation_function", "gelu_pytorch_tanh", TANH_GELUS),
        ),
    ),
    unread=(".attn.bias", ".attn.masked_bias"),
)  # fmt: skip
"""StarCoder, SantaCoder, the large Granite-code models, and the bundled base (Li et al. 2023, arXiv 2305.06161)."""

STARCODER2 = Family(
    model_type="starcoder2",
    spellings=(
        Spelling(
            "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>",
            repository="<repo_name>", file="<file_sep>", unlike_text=("<file_sep>",),
        ),
    ),
    order="spm",
    keys=Keys(
        width="hidden_size", positions="max_position_embeddings", layers="num_hidden_layers",
        heads="num_attention_heads", inner="intermediate_size", epsilon="norm_epsilon",
        key_heads="num_key_value_heads", window="sliding_window",
    ),
    blocks="layers",
    embedding="embed_tokens",
    position_embedding=None,
    linear=(
        Layer("self_attn.q_proj", "width", "width", "attn_q"),
        Layer("self_attn.k_proj", "width", "key", "attn_k"),
        Layer("self_attn.v_proj", "width", "key", "attn_v"),
        Layer("self_attn.o_proj", "width", "width", "attn_output"),
        Layer("mlp.c_fc", "width", "inner", "ffn_up"),
        Layer("mlp.c_proj", "inner", "width", "ffn_down"),
    ),
    gguf=Gguf(
        "starcoder2",
        BIGCODE_SPLITS,
        fixed=(
            Fixed("use_bias", True, ON),
            Fixed("norm_type", "layer_norm", frozenset[object]({"layer_norm"})),
            Fixed("hidden_act", "gelu_pytorch_tanh", TANH_GELUS),
        ),
    ),
)  # fmt: skip
"""StarCoder2 in all sizes (Lozhkov et al. 2024, arXiv 2402.19173)."""

FAMILIES = {row.model_type: row for row in (GPT_BIGCODE, STARCODER2)}
"""Every row by its `model_type`."""
LIMITS = {key: most for row in FAMILIES.values() for key, most in row.keys.limits.items()}
"""Limits of every family's keys: transformers reads some families' keys in other families' configurations too."""


TEXT_SENTINELS = frozenset(
    name for row in FAMILIES.values() for written in row.spellings for name in written.text_sentinels
)
"""Of every family, where the base is not known."""


def supported() -> str:
    """The architectures, for a message."""
    return ", ".join(sorted(FAMILIES))


def of(model_type: str) -> Family:
    """The row of an architecture; raises BaseModelError for one without a row."""
    if model_type not in FAMILIES:
        raise BaseModelError(
            f"The base has model_type {model_type!r}, and only {supported()} are supported: "
            "choose a StarCoder-family base."
        )
    return FAMILIES[model_type]


def shape(config: Config) -> Shape:
    """The sizes in the `config.json` of a supported family."""
    return of(config["model_type"]).shape(config)


def resolve(model_type: str, tokenizer: Names) -> Fim:
    """The FIM format of a base: its family's sentinels, looked up in its vocabulary.

    Raises BaseModelError for an unknown `model_type`, a vocabulary without FIM tokens, or ids that are not distinct.
    """
    family, written = of(model_type), spelling(model_type, tokenizer)
    ids = [number for name in written.sentinels if (number := tokenizer.special_id(name)) is not None]
    if len(set(ids)) < len(ids):
        raise BaseModelError(
            f"The base's tokenizer gives the same id to several of {', '.join(written.sentinels)}: its vocabulary is "
            "damaged; download the base again."
        )
    further = (tokenizer.special_id(name) for name in written.stops)
    stops = frozenset(ids) | {number for number in further if number is not None}
    repository, file = (
        None if name is None else tokenizer.special_id(name) for name in (written.repository, written.file)
    )
    return Fim(
        model_type, *ids, stops=stops, text_sentinels=written.text_sentinels, order=family.order,
        repository=repository, file=file,
    )  # fmt: skip


def spelling(model_type: str, tokenizer: Names) -> Spelling:
    """The spelling that the vocabulary holds; raises BaseModelError where it holds none."""
    for written in of(model_type).spellings:
        if all(tokenizer.special_id(name) is not None for name in written.sentinels):
            return written
    raise BaseModelError(
        "The base's tokenizer has no fill-in-the-middle tokens (<fim_prefix>, <fim_middle>, <fim_suffix>): "
        "choose a base that was trained with FIM, such as bigcode/starcoder2-3b."
    )
