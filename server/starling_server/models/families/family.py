"""What a row of `families` holds: special tokens, prompts, configuration keys, layers and llama.cpp's terms."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

from starling_server.prompt.fim import Order, Text

Config = Mapping[str, Any]
"""A base's `config.json`."""
Size = Literal["width", "inner", "heads", "key", "fused"]
"""Of a layer's inputs or outputs: the hidden width, the feed-forward width, the queries of all heads, the keys of all
key heads, or queries, keys and values together."""
Norm = Literal["layer", "rms"]
"""LayerNorm, which has a bias, or RMSNorm, which has none."""
Form = tuple[Literal["prefix", "suffix", "middle"] | Text, ...]
"""A prompt: sentinels by their role, and the places of the text before (P) and after (S) the cursor."""
END = "<|endoftext|>"
PSM: Form = ("prefix", "P", "suffix", "S", "middle")
SPM: Form = ("prefix", "suffix", "S", "middle", "P")
"""StarCoder's form: the prefix token comes first, and the middle token stands before the text that is continued."""
SUFFIX_FIRST: Form = ("suffix", "S", "prefix", "P", "middle")
"""The form of Mellum and Seed-Coder: each sentinel announces its part."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a family writes its special tokens and prompts."""

    prefix: str
    middle: str
    suffix: str
    pad: str | None
    """None where the vocabulary has none: the end token fills rows then."""
    end: str = END
    """Follows every complete middle and every document."""
    begin: str | None = None
    """Begins every prompt, where the family has learnt so."""
    psm: Form = PSM
    spm: Form = SPM
    learnt: tuple[Order, ...] = ("spm", "psm")
    """The orders that the base was trained with; the bare base is served with the first."""
    repository: str | None = None
    file: str | None = None
    """Tokens that announce a repository and a file. Like `others`, they never belong to a middle, and each ends it."""
    repository_end: str = ""
    """Text between the repository's name and what follows. A file is always `file`, its path, a newline, its text."""
    reads_files: bool = False
    """Whether the base was trained on prompts of several files in this form; tokens alone do not say so."""
    others: tuple[str, ...] = ()
    unlike_text: tuple[str, ...] = ()
    """Those of `stops` that ordinary text never holds: `<file_sep>` is one, `<filename>` is not."""
    like_text: tuple[str, ...] = ()
    """Those of `sentinels` that ordinary text may hold, such as `</s>` in HTML."""
    known_by: tuple[str, ...] = ()
    """Further tokens by which a vocabulary is told from another that has the same sentinels."""

    @property
    def sentinels(self) -> tuple[str, ...]:
        """Tokens that a base must have."""
        named = (self.prefix, self.middle, self.suffix, self.pad, self.end, self.begin)
        return tuple(name for name in named if name is not None)

    @property
    def text_sentinels(self) -> tuple[str, ...]:
        """Spellings that the text filter cuts at: ordinary text, such as a usage message, holds none of them."""
        return tuple(name for name in (*self.sentinels, *self.unlike_text) if name not in self.like_text)

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
    """None where one key head serves all heads, or each has its own: see `multi_query`. Absent or null in a
    configuration means as many as `heads`."""
    multi_query: str | None = None
    """A boolean, true by default."""
    head: str | None = None
    """Numbers in a head; absent or null means the width divided by the heads."""
    window: str | None = None
    """The attention window, where the family has one."""
    window_switch: str | None = None
    """A boolean, false by default, without which the window's number has no meaning."""
    vocabulary: str = "vocab_size"

    @property
    def limits(self) -> dict[str, int]:
        """The largest value of every number that memory depends on. The configuration may come from anywhere."""
        limits = {
            self.vocabulary: 1 << 20, self.width: 1 << 16, self.inner: 1 << 18, self.layers: 1 << 10,
            self.heads: 1 << 10, self.key_heads: 1 << 10, self.head: 1 << 12, self.positions: 1 << 20,
            self.window: 1 << 20,
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
    bias: bool | str = True
    """Whether it has one, or the key of `config.json` that says so (false by default)."""


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
    ignore_merges: bool = False
    """Whether a piece that is a token as a whole is not merged."""


@dataclass(frozen=True, slots=True)
class Gguf:
    """llama.cpp's terms. Its tensor names follow from the architecture (`gguf.get_tensor_name_map`)."""

    architecture: str
    pre_tokenizers: tuple[PreTokenizer, ...]
    fixed: tuple[Fixed, ...]
    interleaved: tuple[str, ...] = ()
    """Layers whose rows llama.cpp wants with the two halves of each head interleaved, since it rotates neighbours."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model that memory depends on."""

    layers: int
    width: int
    inner: int
    """Width inside the feed-forward layers."""
    heads: int
    key_heads: int
    head: int
    """Numbers in a head."""
    vocabulary: int
    positions: int
    """Rows of the position embedding; 0 where positions are rotations."""
    tied: bool
    """Whether the head is the embedding."""
    parts: tuple[Layer, ...]
    """The linear layers of one block; each `bias` is a boolean."""
    norms: int
    """Numbers in the norms of one block."""
    last_norm: int
    """Numbers in the norm before the head."""

    @property
    def queries(self) -> int:
        """Width of the queries of all heads."""
        return self.head * self.heads

    @property
    def key(self) -> int:
        """Width of keys, and of values, of all key heads."""
        return self.head * self.key_heads

    def size(self, of: Size) -> int:
        """Width of a layer's input or output."""
        return {
            "width": self.width, "inner": self.inner, "heads": self.queries, "key": self.key,
            "fused": self.queries + 2 * self.key,
        }[of]  # fmt: skip

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
        return rows * self.width + self.layers * (self.norms + biases) + self.last_norm

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
    keys: Keys
    blocks: str
    """Tensor names hold `.blocks.N.`."""
    embedding: str
    """The token embedding's weight ends with `.embedding.weight`."""
    position_embedding: str | None
    """The same for learnt positions; None where positions are rotations."""
    linear: tuple[Layer, ...]
    """The linear layers of a block."""
    gguf: Gguf | None
    """None where no export is written."""
    norm: Norm = "layer"
    norms: tuple[str, ...] = ("attn_norm", "ffn_norm")
    """llama.cpp's names of a block's norms of the hidden width."""
    head_norms: tuple[str, ...] = ()
    """The same for norms of one head."""
    epsilon: float = 1e-5
    """Of norms, where the configuration names none."""
    tied: bool = True
    """Whether the head is the embedding where the configuration does not say."""
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
        keys, learnt = self.keys, config[self.keys.positions]
        used = keys.window and (keys.window_switch is None or config.get(keys.window_switch))
        return min(learnt, (config.get(keys.window) if keys.window and used else None) or learnt)

    def shape(self, config: Config) -> Shape:
        """The sizes in a `config.json`; raises KeyError for one that is not there."""
        keys, width, heads = self.keys, config[self.keys.width], config[self.keys.heads]
        head = (config.get(keys.head) if keys.head else None) or width // heads
        return Shape(
            layers=config[keys.layers],
            width=width,
            inner=config.get(keys.inner) or 4 * width,
            heads=heads,
            key_heads=self._key_heads(config),
            head=head,
            vocabulary=config[keys.vocabulary],
            positions=0 if self.rotary else config[keys.positions],
            tied=bool(config.get("tie_word_embeddings", self.tied)),
            parts=tuple(_resolved(layer, config) for layer in self.linear),
            norms=len(self.norms) * self._norm(width) + len(self.head_norms) * self._norm(head),
            last_norm=self._norm(width),
        )

    def _norm(self, width: int) -> int:
        """Numbers in one norm."""
        return width * (2 if self.norm_bias else 1)

    def _key_heads(self, config: Config) -> int:
        if self.keys.key_heads is not None:
            return config.get(self.keys.key_heads) or config[self.keys.heads]
        return 1 if self.keys.multi_query and config.get(self.keys.multi_query, True) else config[self.keys.heads]


def _resolved(layer: Layer, config: Config) -> Layer:
    """The layer with a boolean `bias`."""
    return replace(layer, bias=bool(config.get(layer.bias))) if isinstance(layer.bias, str) else layer
