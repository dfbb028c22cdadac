"""From configuration to a service whose model another server computes: the tokenizer is here, and no weights."""

import os
from collections.abc import Sequence

from starling_server.backends.openai.client import Upstream
from starling_server.backends.openai.remote_engine import Draw, Elsewhere, Relay
from starling_server.completion.service import Model, Service
from starling_server.config import OPENAI, ModelConfig, ServiceConfig
from starling_server.errors import UpstreamDown, UsageError
from starling_server.models import bases
from starling_server.models.adapter_registry import Shelf
from starling_server.models.adapters import Adapter
from starling_server.models.tokenizer import load_tokenizer
from starling_server.prompt import fim

KEY = "STARLING_UPSTREAM_KEY"
"""The environment variable with the other server's key; never a flag, which every user of the machine could read."""


def start_relay(model: ModelConfig, service: ServiceConfig, served: Sequence[Adapter] = ()) -> Service:
    """Ask the other server what it has, and put a service before it.

    Raises UsageError, BaseModelError, AdapterError.
    """
    if model.base == "auto":
        raise UsageError("--engine needs --base: the name of the base that the server there has, or its folder.")
    base = bases.find_vocabulary(model.base)
    tokenizer = load_tokenizer(base)
    sentinels = fim.resolve(base.model_type, tokenizer)
    upstream = Upstream(model.engine.removeprefix(OPENAI), os.environ.get(KEY))
    listed = _listed(upstream)
    sizes = Elsewhere(base.context, upstream)
    fingerprint = bases.fingerprint(base) if bases.has_weights(base) else None
    shelf = Shelf(sizes, base.id, fingerprint, sentinels.family)
    for adapter in served:
        shelf.take(adapter)
    shelf.default = served[0].name if served else None
    bare = model.upstream_model or _bare(listed, base.id, shelf)
    if bare:
        sizes.names[None] = bare
    relay = Relay(upstream, sizes, tokenizer)
    return Service(Model(base.id, relay, tokenizer, sentinels, shelf, Draw, f"at {upstream.url}"), service)


def _listed(upstream: Upstream) -> list[str]:
    try:
        return upstream.names()
    except UpstreamDown as error:
        raise UsageError(str(error)) from error


def _bare(listed: Sequence[str], base_id: str, shelf: Shelf) -> str | None:
    """What the other server calls the base, by its own list; None where all that it has are adapters."""
    if base_id in listed:
        return base_id
    others = [name for name in listed if name not in shelf.names()]
    if len(others) < 2:
        return others[0] if others else None
    raise UsageError(f"The server has {', '.join(listed) or 'no model'}: say with --upstream-model which is the base.")
