"""A base that runs on another server: only its vocabulary is loaded here, no weights."""

import os
from collections.abc import Collection, Sequence

from starling_server.backends.openai.client import Upstream
from starling_server.backends.openai.remote_engine import RemoteEngine, RemoteModels
from starling_server.config import OPENAI, ModelConfig
from starling_server.engine.backend import Backend
from starling_server.errors import UpstreamDown, UsageError
from starling_server.models import adapters, bases
from starling_server.models.adapters import Adapter
from starling_server.models.tokenizer import load_tokenizer

KEY = "STARLING_UPSTREAM_KEY"
"""Environment variable for the other server's API key. Not a flag: every user of the machine can read flags."""


def load(model: ModelConfig, served: Sequence[Adapter] = ()) -> Backend:
    """List the other server's models; a model with the name of one of our adapters counts as that adapter.

    Raises UsageError, BaseModelError.
    """
    if model.base == "auto":
        raise UsageError("--engine needs --base: the name or the folder of the base that the other server has.")
    base = bases.find_vocabulary(model.base)
    tokenizer = load_tokenizer(base)
    sentinels = base.fim(tokenizer)
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
    """The base's name in the other server's model list; None if the list holds only adapters."""
    if base_id in listed:
        return base_id
    others = [name for name in listed if name not in adapter_names]
    if len(others) < 2:
        return others[0] if others else None
    raise UsageError(
        f"The server has {', '.join(listed) or 'no model'}: name the base among them with --upstream-model."
    )
