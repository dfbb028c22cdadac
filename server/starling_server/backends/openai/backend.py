"""A base that another server computes: its vocabulary is here, and no weights."""

import os
from collections.abc import Collection, Sequence

from starling_server.backends.openai.client import Upstream
from starling_server.backends.openai.remote_engine import RemoteEngine, RemoteModels
from starling_server.config import OPENAI, ModelConfig
from starling_server.engine.backend import Backend
from starling_server.errors import UpstreamDown, UsageError
from starling_server.models import adapters, bases, families
from starling_server.models.adapters import Adapter
from starling_server.models.tokenizer import load_tokenizer

KEY = "STARLING_UPSTREAM_KEY"
"""The environment variable with the other server's key; never a flag, which every user of the machine could read."""


def load(model: ModelConfig, served: Sequence[Adapter] = ()) -> Backend:
    """Ask the other server which models it has; those with the name of an adapter of ours are taken for adapters.

    Raises UsageError, BaseModelError.
    """
    if model.base == "auto":
        raise UsageError("--engine needs --base: the name of the base that the server there has, or its folder.")
    base = bases.find_vocabulary(model.base)
    tokenizer = load_tokenizer(base)
    sentinels = families.resolve(base.model_type, tokenizer)
    upstream = Upstream(model.engine.removeprefix(OPENAI), os.environ.get(KEY))
    names = {adapter.name for adapter in (*served, *adapters.every())}
    listed = _listed(upstream)
    models = RemoteModels(base.context, upstream)
    bare = model.upstream_model or _bare(listed, base.id, names)
    if bare:
        models.names[None] = bare
    engine = RemoteEngine(upstream, models, tokenizer)
    fingerprint = bases.fingerprint(base) if bases.has_weights(base) else None
    return Backend(base, fingerprint, engine, tokenizer, sentinels, models, device=f"at {upstream.url}")


def _listed(upstream: Upstream) -> list[str]:
    try:
        return upstream.names()
    except UpstreamDown as error:
        raise UsageError(str(error)) from error


def _bare(listed: Sequence[str], base_id: str, adapter_names: Collection[str]) -> str | None:
    """What the other server calls the base, by its own list; None where all that it has are adapters."""
    if base_id in listed:
        return base_id
    others = [name for name in listed if name not in adapter_names]
    if len(others) < 2:
        return others[0] if others else None
    raise UsageError(f"The server has {', '.join(listed) or 'no model'}: say with --upstream-model which is the base.")
