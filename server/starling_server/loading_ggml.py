"""A base for the ggml runner: its GGUF file, its tokenizer, its sentinels. Nothing here imports torch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from starling_server import bases, fim
from starling_server.bases import Base
from starling_server.config import ModelConfig
from starling_server.errors import BaseModelError
from starling_server.fim import Fim
from starling_server.gguf_export import kept

log = logging.getLogger(__name__)


class FileTokenizer:
    """A `tokenizer.json` as `fim.Tokenizer`; the same ids as `loading.TextTokenizer`, without transformers.

    transformers imports torch with its tokenizers where it finds it: 5 s on busy cores.
    """

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.encode_special_tokens = True  # a sentinel's spelling in a text is text
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, nothing added; `"<fim_middle>"` becomes ordinary tokens. Lone surrogates become '?'."""
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return self._tokenizer.encode(clean, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, bytes that form no character as U+FFFD."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def special_id(self, token: str) -> int | None:
        """Id of a special token by literal name; None where it is missing."""
        return self._tokenizer.token_to_id(token)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a runner and a service need of a base; its weights are still on the disk."""

    base: Base
    fingerprint: str
    file: Path
    """The base as GGUF."""
    tokenizer: FileTokenizer
    fim: Fim
    gpu: bool
    """Whether layers go to a GPU, where this build of llama.cpp knows one."""


def load(config: ModelConfig) -> Loaded:
    """Find the base, export it where that was not done before; raises BaseModelError, OutputError."""
    base = find_base(config)
    tokenizer = load_tokenizer(base)
    fingerprint = bases.fingerprint(base)
    sentinels = fim.resolve(base.model_type, tokenizer)
    file = kept.base(base, fingerprint, config.ggml_type)
    return Loaded(base, fingerprint, file, tokenizer, sentinels, config.device != "cpu")


def find_base(config: ModelConfig) -> Base:
    """The base that `config` means; without torch nobody knows the GPU, so `auto` is the bundled one."""
    if config.base == "auto":
        log.info("base %s: the ggml runner does not choose one, name a larger one with --base", bases.TINY)
        return bases.find(bases.TINY)
    return bases.find(config.base)


def load_tokenizer(base: Base) -> FileTokenizer:
    """The base's tokenizer; raises BaseModelError where its file is damaged."""
    try:
        return FileTokenizer(base.path / "tokenizer.json")
    except Exception as error:  # tokenizers raises bare Exceptions
        raise BaseModelError(f"The tokenizer of base {base.id!r} cannot be read: download the base again.") from error
