"""The model families: one row each with everything that depends on a base's architecture.

A row says how the family spells its sentinels and writes its prompts, which keys its `config.json` uses, which linear
layers a block has, and what llama.cpp calls all of that. The tokens that a base really has are found in its vocabulary
by `resolve`, so bases of one architecture and several vocabularies (Llama's) are told apart by their tokens.
"""

from dataclasses import replace

from starling_server.errors import BaseModelError
from starling_server.models.families.family import (
    SUFFIX_FIRST,
    Config,
    Family,
    Fixed,
    Form,
    Gguf,
    Keys,
    Layer,
    PreTokenizer,
    Shape,
    Spelling,
)
from starling_server.prompt.fim import Fim, Names, Template, Text

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}


def _split(*patterns: str) -> tuple[dict[str, object], ...]:
    return tuple({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"} for regex in patterns)


_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_BLANKS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_PUNCTUATION = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
QWEN2_SPLIT = PreTokenizer("qwen2", (*_split(rf"{_WORDS}\p{{N}}{_PUNCTUATION}{_BLANKS}"), BYTES))
LLAMA3_SPLIT = PreTokenizer("llama-bpe", (*_split(rf"{_WORDS}\p{{N}}{{1,3}}{_PUNCTUATION}{_BLANKS}"), BYTES), True)
SEED_SPLIT = PreTokenizer("seed-coder", (*_split(rf"{_WORDS}\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+{_BLANKS}"), BYTES))
DEEPSEEK_SPLIT = PreTokenizer(
    "deepseek-coder",
    (*_split("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), DIGITS, BYTES),
)
BIGCODE_SPLITS = (PreTokenizer("starcoder", (DIGITS, BYTE_LEVEL)), PreTokenizer("gpt-2", (BYTE_LEVEL,)))
TANH_GELUS = frozenset[object]({"gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"})
"""llama.cpp always takes the tanh form. The exact one, which StarCoder's config names, differs by 0.0005 at most."""
ON = frozenset[object]({True})
SILU = Fixed("hidden_act", "silu", frozenset[object]({"silu", "swish"}))

STARCODER = Spelling(
    "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>",
    repository="<reponame>", file="<filename>", others=("<gh_stars>",),
)  # fmt: skip
SANTACODER = Spelling("<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>")
QWEN = Spelling(
    "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    learnt=("psm",), repository="<|repo_name|>", file="<|file_sep|>", repository_end="\n",
    reads_files=True, others=("<|im_start|>", "<|im_end|>"),
    unlike_text=("<|repo_name|>", "<|file_sep|>", "<|im_start|>", "<|im_end|>"),
)  # fmt: skip
"""Qwen2.5-Coder's report (arXiv 2409.12186) and card, also the dense Qwen3: one order only. Repositories are in
Qwen2.5-Coder's report only."""
SEED_CODER = Spelling(
    "<[fim-prefix]>", "<[fim-middle]>", "<[fim-suffix]>", "<[PAD\u2581TOKEN]>", "<[end\u2581of\u2581sentence]>",
    spm=SUFFIX_FIRST, learnt=("spm",), others=("<[begin\u2581of\u2581sentence]>", "<[SEP\u2581TOKEN]>"),
)  # fmt: skip
"""Seed-Coder's report (arXiv 2506.03524)."""
DEEPSEEK_CODER = Spelling(
    "<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581end\uff5c>", "<\uff5cfim\u2581hole\uff5c>", None,
    "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
    learnt=("psm",), others=("<|EOT|>",),
)  # fmt: skip
"""DeepSeek-Coder's card: the hole's token stands between prefix and suffix, and the end's token before the answer."""
MELLUM = Spelling(
    "<fim_prefix>", "<fim_middle>", "<fim_suffix>", None, spm=SUFFIX_FIRST, learnt=("spm",),
    file="<filename>", reads_files=True, others=("<fim_pad>", "<reponame>", "<gh_stars>"), unlike_text=("<fim_pad>",),
    known_by=("10",),
)  # fmt: skip
"""Mellum's card. Its vocabulary joins digits, unlike that of Granite-code, which is StarCoder's."""
CODELLAMA = Spelling(
    "\u2581<PRE>", "\u2581<MID>", "\u2581<SUF>", None, "\u2581<EOT>", "<s>", learnt=("psm", "spm"), others=("</s>",),
    like_text=("<s>",),
)  # fmt: skip
"""CodeLlama's report (arXiv 2308.12950), half of its holes in either order."""
CODESTRAL = Spelling(
    "[PREFIX]", "[MIDDLE]", "[SUFFIX]", None, "</s>", "<s>",
    spm=("suffix", "S", "prefix", "P"), learnt=("spm",), like_text=("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "</s>", "<s>"),
)  # fmt: skip
"""mistral-common's `encode_fim`: nothing follows the text that is continued."""
CODEGEMMA = Spelling(
    "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<pad>", "<|file_separator|>", "<bos>",
    learnt=("psm",), others=("<eos>",), like_text=("<pad>", "<bos>"),
)  # fmt: skip
"""CodeGemma's card: a middle ends with the file separator."""

DECODER = {
    "width": "hidden_size", "positions": "max_position_embeddings", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "inner": "intermediate_size", "key_heads": "num_key_value_heads",
}  # fmt: skip
"""Keys of Llama and of what descends from it."""
RMS = {"epsilon": "rms_norm_eps", "head": "head_dim"}
WINDOW = {"window": "sliding_window", "window_switch": "use_sliding_window"}


def _gated(attention: bool | str, output: bool | str, inner: bool | str = False) -> tuple[Layer, ...]:
    """A block with grouped keys and a gated feed-forward; the arguments are the `Layer.bias` of its parts."""
    return (
        Layer("self_attn.q_proj", "width", "heads", "attn_q", attention),
        Layer("self_attn.k_proj", "width", "key", "attn_k", attention),
        Layer("self_attn.v_proj", "width", "key", "attn_v", attention),
        Layer("self_attn.o_proj", "heads", "width", "attn_output", output),
        Layer("mlp.gate_proj", "width", "inner", "ffn_gate", inner),
        Layer("mlp.up_proj", "width", "inner", "ffn_up", inner),
        Layer("mlp.down_proj", "inner", "width", "ffn_down", inner),
    )


def _decoder(
    model_type: str, spellings: tuple[Spelling, ...], keys: Keys, linear: tuple[Layer, ...], gguf: Gguf | None,
    head_norms: tuple[str, ...] = (), tied: bool = False,
) -> Family:  # fmt: skip
    """A row of Llama's kind: rotations, RMSNorm."""
    return Family(
        model_type, spellings, keys, "layers", "embed_tokens", None, linear, gguf,
        norm="rms", head_norms=head_norms, epsilon=1e-6, tied=tied,
    )  # fmt: skip


GPT_BIGCODE = Family(
    model_type="gpt_bigcode",
    spellings=(STARCODER, SANTACODER),
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
        replace(
            STARCODER, repository="<repo_name>", file="<file_sep>", reads_files=True, others=(),
            unlike_text=("<file_sep>",),
        ),
    ),
    keys=Keys(**DECODER, epsilon="norm_epsilon", window="sliding_window"),
    blocks="layers",
    embedding="embed_tokens",
    position_embedding=None,
    linear=(
        Layer("self_attn.q_proj", "width", "heads", "attn_q"),
        Layer("self_attn.k_proj", "width", "key", "attn_k"),
        Layer("self_attn.v_proj", "width", "key", "attn_v"),
        Layer("self_attn.o_proj", "heads", "width", "attn_output"),
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

QWEN2 = _decoder(
    "qwen2", (QWEN,), Keys(**DECODER, **RMS, **WINDOW), _gated(True, False), Gguf("qwen2", (QWEN2_SPLIT,), (SILU,))
)
"""Qwen2.5-Coder in all sizes."""

QWEN3 = _decoder(
    "qwen3", (replace(QWEN, reads_files=False),), Keys(**DECODER, **RMS, **WINDOW),
    _gated("attention_bias", "attention_bias"),
    Gguf("qwen3", (QWEN2_SPLIT,), (SILU, Fixed("attention_bias", False, frozenset[object]({False})))),
    head_norms=("attn_q_norm", "attn_k_norm"),
)  # fmt: skip
"""The dense Qwen3 models, whose vocabulary holds Qwen2.5-Coder's tokens."""

LLAMA = _decoder(
    "llama", (SEED_CODER, DEEPSEEK_CODER, CODELLAMA, MELLUM, STARCODER), Keys(**DECODER, **RMS),
    _gated("attention_bias", "attention_bias", "mlp_bias"),
    Gguf("llama", (LLAMA3_SPLIT, SEED_SPLIT, DEEPSEEK_SPLIT, *BIGCODE_SPLITS), (SILU,), ("attn_q", "attn_k")),
)  # fmt: skip
"""Seed-Coder, DeepSeek-Coder, CodeLlama, Mellum, and Granite-code of 3 and 8 billion weights (StarCoder's tokens)."""

MISTRAL = _decoder("mistral", (CODESTRAL,), Keys(**DECODER, **RMS, window="sliding_window"), _gated(False, False), None)
"""Codestral."""

GEMMA = _decoder(
    "gemma", (CODEGEMMA,), Keys(**DECODER, **RMS), _gated("attention_bias", "attention_bias"), None, tied=True
)
"""CodeGemma."""

FAMILIES = {row.model_type: row for row in (GPT_BIGCODE, STARCODER2, QWEN2, QWEN3, LLAMA, MISTRAL, GEMMA)}
"""Every row by its `model_type`."""
LIMITS = {key: most for row in FAMILIES.values() for key, most in row.keys.limits.items()}
"""Limits of every family's keys: transformers reads some families' keys in other families' configurations too."""
_SPELLINGS = tuple(written for row in FAMILIES.values() for written in row.spellings)
TEXT_SENTINELS = frozenset(name for written in _SPELLINGS for name in written.text_sentinels)
"""Of every family, where the base is not known."""
SPECIAL = frozenset(name for written in _SPELLINGS for name in (*written.sentinels, *written.stops))
"""Every special token of every family. Some vocabularies do not mark them as such."""


def supported() -> str:
    """The architectures, for a message."""
    return ", ".join(sorted(FAMILIES))


def of(model_type: str) -> Family:
    """The row of an architecture; raises BaseModelError for one without a row."""
    if model_type not in FAMILIES:
        raise BaseModelError(
            f"The base has model_type {model_type!r}, and only {supported()} are supported: choose one of those, such "
            "as bigcode/starcoder2-3b or Qwen/Qwen2.5-Coder-1.5B."
        )
    return FAMILIES[model_type]


def shape(config: Config) -> Shape:
    """The sizes in the `config.json` of a supported family."""
    return of(config["model_type"]).shape(config)


def resolve(model_type: str, tokenizer: Names) -> Fim:
    """The FIM format of a base: its family's sentinels, looked up in its vocabulary.

    Raises BaseModelError for an unknown `model_type`, a vocabulary without FIM tokens, or ids that are not distinct.
    """
    written = spelling(model_type, tokenizer)
    found = {name: number for name in written.sentinels if (number := tokenizer.special_id(name)) is not None}
    if len(set(found.values())) < len(found):
        raise BaseModelError(
            f"The base's tokenizer gives the same id to several of {', '.join(written.sentinels)}: its vocabulary is "
            "damaged; download the base again."
        )
    further = (tokenizer.special_id(name) for name in written.stops)
    return Fim(
        family=model_type,
        prefix=found[written.prefix],
        middle=found[written.middle],
        suffix=found[written.suffix],
        pad=found[written.pad or written.end],
        end=found[written.end],
        begin=None if written.begin is None else found[written.begin],
        psm=_template(written, written.psm, found),
        spm=_template(written, written.spm, found),
        learnt=written.learnt,
        stops=frozenset(found.values()) | {number for number in further if number is not None},
        text_sentinels=written.text_sentinels,
        order=written.learnt[0],
        repository=_optional(tokenizer, written.repository),
        file=_optional(tokenizer, written.file),
        repository_end=written.repository_end,
        reads_files=written.reads_files,
    )


def _optional(tokenizer: Names, name: str | None) -> int | None:
    return None if name is None else tokenizer.special_id(name)


def _template(written: Spelling, form: Form, ids: dict[str, int]) -> Template:
    """The ids of a prompt's sentinels, with the token that begins every prompt."""
    spelt: dict[str, int | Text] = {"P": "P", "S": "S"}
    spelt |= {"prefix": ids[written.prefix], "suffix": ids[written.suffix], "middle": ids[written.middle]}
    begin = () if written.begin is None else (ids[written.begin],)
    return (*begin, *(spelt[part] for part in form))


def spelling(model_type: str, tokenizer: Names) -> Spelling:
    """The spelling that the vocabulary holds; raises BaseModelError where it holds none."""
    for written in of(model_type).spellings:
        if all(tokenizer.special_id(name) is not None for name in (*written.sentinels, *written.known_by)):
            return written
    known = "; ".join(dict.fromkeys(", ".join((s.prefix, s.suffix, s.middle)) for s in of(model_type).spellings))
    raise BaseModelError(
        f"The base's tokenizer has no fill-in-the-middle tokens (of {model_type} models: {known}): choose a base that "
        "was trained with FIM, such as bigcode/starcoder2-3b or Qwen/Qwen2.5-Coder-1.5B."
    )
