"""The known bases, one row each: the better first, by published fill-in-the-middle results, by size without these."""

import re
from dataclasses import dataclass

NF4_BYTES = 0.516
"""Bytes of a weight in 4 bits with double quantisation (arXiv 2305.14314: 4.127 bits)."""


@dataclass(frozen=True, slots=True)
class Known:
    """One base as its authors published it."""

    id: str
    """Its name on the Hugging Face Hub; `tiny` is bundled."""
    weights: float
    """Billions."""
    embeddings: float
    """Billions of these that are embeddings, which stay in 16 bits."""
    licence: str
    languages: str
    spelt: tuple[str, ...] = ()
    """Further forms of its name in the names of files and models, in small letters with `-` between their parts."""
    gated: bool = False
    """Whether the Hub wants an account and a consent first."""
    is_default: bool = False
    """Whether `--base auto` may fetch it: not gated, its licence allows commercial use, its vocabulary was run here."""

    @property
    def four_bits(self) -> float:
        """Bytes of the weights in 4 bits, with 16-bit embeddings."""
        return 1e9 * ((self.weights - self.embeddings) * NF4_BYTES + 2 * self.embeddings)

    def matches(self, name: str) -> bool:
        """Whether the name of a file, or of another program's model, is one of this base."""
        text, names = plain(name), (plain(self.id.rpartition("/")[2]), *self.spelt)
        return any(f"-{spelt}-" in f"-{text}-" for spelt in names)


def plain(name: str) -> str:
    """Small letters and digits with one `-` between their parts."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


APACHE, MIT, RAIL, DEEPSEEK = "Apache-2.0", "MIT", "OpenRAIL-M", "DeepSeek"
TINY = Known("tiny", 0.0115, 0.003, APACHE, "Python")
KNOWN = (
    Known("Qwen/Qwen2.5-Coder-32B", 32.8, 1.56, APACHE, "92"),
    Known("Qwen/Qwen2.5-Coder-14B", 14.8, 1.56, APACHE, "92"),
    Known("Qwen/Qwen2.5-Coder-7B", 7.6, 1.09, APACHE, "92", is_default=True),
    Known("ByteDance-Seed/Seed-Coder-8B-Base", 8.3, 1.27, MIT, "89", ("seed-coder-8b",)),
    Known("mistralai/Codestral-22B-v0.1", 22.2, 0.40, "MNPL", "80", ("codestral",), True),
    Known("bigcode/starcoder2-15b", 16.0, 0.60, RAIL, "619"),
    Known("bigcode/starcoder2-7b", 7.2, 0.23, RAIL, "17", is_default=True),
    Known("JetBrains/Mellum-4b-base", 4.0, 0.30, APACHE, "several", ("mellum-4b",)),
    Known("deepseek-ai/deepseek-coder-6.7b-base", 6.7, 0.26, DEEPSEEK, "87", ("deepseek-coder-6-7b",)),
    Known("ibm-granite/granite-8b-code-base-4k", 8.1, 0.20, APACHE, "116", ("granite-8b-code", "granite-code-8b")),
    Known("google/codegemma-7b", 8.5, 0.79, "Gemma terms", "several", (), True),
    Known("codellama/CodeLlama-7b-hf", 6.7, 0.26, "Llama 2", "7", ("codellama-7b",)),
    Known("bigcode/starcoder", 15.5, 0.35, RAIL, "80+", (), True),
    Known("Qwen/Qwen2.5-Coder-3B", 3.1, 0.31, "Qwen Research", "92"),
    Known("bigcode/starcoder2-3b", 3.0, 0.15, RAIL, "17", is_default=True),
    Known("Qwen/Qwen2.5-Coder-1.5B", 1.54, 0.23, APACHE, "92", is_default=True),
    Known("ibm-granite/granite-3b-code-base-2k", 3.5, 0.13, APACHE, "116", ("granite-3b-code", "granite-code-3b")),
    Known("deepseek-ai/deepseek-coder-1.3b-base", 1.35, 0.13, DEEPSEEK, "87", ("deepseek-coder-1-3b",)),
    Known("google/codegemma-2b", 2.5, 0.52, "Gemma terms", "several", (), True),
    Known("Qwen/Qwen2.5-Coder-0.5B", 0.49, 0.14, APACHE, "92", is_default=True),
)
"""Numbers of weights and languages are the authors'; embeddings follow from vocabulary and width."""


def of(name: str) -> Known | None:
    """The row that a name belongs to."""
    return next((row for row in KNOWN if row.matches(name)), None)
