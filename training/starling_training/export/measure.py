"""The loss on middles that training did not see: what `--merge auto` chooses by."""

import gc
from collections.abc import Sequence
from pathlib import Path

from starling_server.backends.torch import loading
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig
from starling_server.models import families
from starling_server.models.adapters import Adapter
from starling_server.models.bases import Base
from starling_server.models.manifest import Manifest, prompt_format
from starling_server.prompt.fim import Example
from starling_training.examples.dataset import Writer, held_out_holes
from starling_training.sources.clean import Document, Raw, clean


def documents(manifest: Manifest) -> list[Document]:
    """The held-out files as they are now, cleaned as for training; none where their folder is gone.

    None either of several sources: their paths do not say whose they are, and another's may have been learnt from.
    """
    if not manifest.workspace or len(manifest.data.get("sources", ())) != 1:
        return []
    root = Path(manifest.workspace).resolve()
    found = (clean(Raw(path, root.name, root=root)) for path in manifest.data.get("held_out", ()))
    return [item.document for item in found if not isinstance(item, str)]


def examples(held_out: Sequence[Document], manifest: Manifest, base: Base, count: int) -> list[Example]:
    """Holes in `held_out`, written as serving would ask them; none where no middle is short enough."""
    tokenizer = loading.load_tokenizer(base)
    written = prompt_format(families.resolve(base.model_type, tokenizer), manifest.fim)
    writer = Writer(tokenizer, written, manifest.fim.context_tokens, manifest.fim.max_tokens)
    return [writer.hole(hole) for _, hole in held_out_holes(held_out, writer, count, "export:0")]


def loss(model: ModelConfig, adapter: Adapter | None, asked: Sequence[Example]) -> float:
    """Nats per token of the examples' middles and ends, by `model` as it is served, with the adapter or bare."""
    loaded = loading.load(model)
    runner = TorchRunner(loaded)
    if adapter:
        runner.add_adapter(adapter.name, adapter.path)
    name = adapter.name if adapter else None
    scores = [score for made in asked for score in runner.score(name, made.ids, made.prompt_tokens)]
    del runner, loaded
    gc.collect()  # the next model's place in memory
    return -sum(scores) / len(scores)
