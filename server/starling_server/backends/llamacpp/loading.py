"""A base for the ggml runner: its GGUF file, its tokenizer, its sentinels. Nothing here imports torch."""

import logging
from dataclasses import dataclass
from pathlib import Path

from starling_server.backends.llamacpp.gguf_export import export_cache
from starling_server.config import ModelConfig
from starling_server.models import bases, families
from starling_server.models.bases import Base
from starling_server.models.tokenizer import FileTokenizer, load_tokenizer
from starling_server.prompt.fim import Fim

log = logging.getLogger(__name__)


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
    sentinels = families.resolve(base.model_type, tokenizer)
    file = export_cache.base(base, fingerprint, config.ggml_type)
    return Loaded(base, fingerprint, file, tokenizer, sentinels, config.device != "cpu")


def find_base(config: ModelConfig) -> Base:
    """The base that `config` means; without torch nobody knows the GPU, so `auto` is the bundled one."""
    if config.base == "auto":
        log.info("base %s: the ggml runner does not choose one, name a larger one with --base", bases.TINY)
        return bases.find(bases.TINY)
    return bases.find(config.base)
