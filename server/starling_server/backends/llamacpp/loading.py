"""Loads a base for `GgmlRunner`: GGUF file, tokenizer and sentinels. No torch."""

from dataclasses import dataclass
from pathlib import Path

from starling_server.backends.llamacpp.gguf_export import export_cache
from starling_server.config import ModelConfig
from starling_server.models import bases
from starling_server.models.bases import Base
from starling_server.models.catalogue import auto
from starling_server.models.tokenizer import FileTokenizer, load_tokenizer
from starling_server.prompt.fim import Fim


@dataclass(frozen=True, slots=True)
class Loaded:
    """A base as the runner and the service need it; its weights are not in memory yet."""

    base: Base
    fingerprint: str
    file: Path
    """The base in GGUF format."""
    tokenizer: FileTokenizer
    fim: Fim
    gpu: bool
    """Whether to offload layers to a GPU, if this build of llama.cpp supports one."""


def load(config: ModelConfig) -> Loaded:
    """Find the base and, unless it is a GGUF file, export it to one once; raises BaseModelError, OutputError."""
    base = find_base(config)
    tokenizer = load_tokenizer(base)
    fingerprint = bases.fingerprint(base)
    sentinels = base.fim(tokenizer)
    file = export_cache.base(base, fingerprint, config.ggml_type) if base.gguf is None else base.gguf.files[0]
    return Loaded(base, fingerprint, file, tokenizer, sentinels, config.device != "cpu")


def find_base(config: ModelConfig) -> Base:
    """The base that `config` names; `auto` is one for the CPU, since the GPU cannot be queried without torch."""
    return bases.find(auto.named(config.base, 0))
