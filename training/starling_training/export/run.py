"""One run of `train-copilot export`: check everything, write beside the output, move it there when it is whole."""

import gc
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from starling_server import adapters, bases, loading, lora, manifest
from starling_server.adapters import Adapter
from starling_server.bases import Base
from starling_server.config import ModelConfig
from starling_server.lora import Lora
from starling_training import staging
from starling_training.clean import Document
from starling_training.export import card, choose, measure, merge
from starling_training.export.choose import Choice
from starling_training.export.config import MERGES, ExportConfig, Onto


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported, found and checked."""

    config: ExportConfig
    adapter: Adapter
    base: Base
    lora: Lora
    output: Path
    console: Console


def run(config: ExportConfig, console: Console) -> Path:
    """Write what `config` asks for and return its folder; raises UsageError's kinds."""
    adapter = adapters.find(config.adapter)
    output = (config.output or Path(f"{adapter.name}-{'merged' if config.merge else 'gguf'}")).absolute()
    staging.check(output, config.overwrite)
    base = bases.find(adapter.manifest.base.id if config.base == "auto" else config.base)
    manifest.check(adapter.manifest, base.id, bases.fingerprint(base), base.model_type)
    asked = Export(config, adapter, base, lora.read(adapter.path), output, console)
    if config.gguf:
        _check_gguf(asked)
    with staging.staged(output, config.overwrite) as folder:
        if config.merge:
            _merge(asked, folder)
        if config.gguf:
            _gguf(asked, folder)
    console.print(f"Wrote {output}", soft_wrap=True)
    return output


def _merge(asked: Export, folder: Path) -> None:
    choice = _chosen(asked, folder)
    for name, value in choice.losses.items():
        asked.console.print(f"loss on held-out middles, {name}: {value:.4f} nats per token")
    asked.console.print(f"Merged onto {choice.onto}: {choice.reason}.", soft_wrap=True)
    (folder / "README.md").write_text(card.merged(asked.adapter, asked.base, choice), encoding="utf-8")


def _chosen(asked: Export, folder: Path) -> Choice:
    """Merge into `folder` onto what was asked for, or onto what a measurement prefers."""
    config, record = asked.config, asked.adapter.manifest
    if config.merge in ("bf16", "dequantised"):
        choice = Choice(config.merge, "as asked for")
    elif not config.holes:
        choice = choose.unmeasured(record, "--holes 0 measures nothing")
    elif not (held_out := measure.documents(record)):
        choice = choose.unmeasured(record, "the files that were held out are not there to measure on")
    else:
        return _measured(asked, held_out, folder)
    _write(asked, choice.onto, folder)
    return choice


def _measured(asked: Export, held_out: Sequence[Document], folder: Path) -> Choice:
    """Merge both ways, measure both as they lie on disk, and keep the better in `folder`."""
    config, record = asked.config, asked.adapter.manifest
    candidates: dict[Onto, Path] = {onto: folder.parent / onto for onto in MERGES if onto != "auto"}
    losses = dict[Onto, float]()
    for onto, place in candidates.items():
        place.mkdir()
        _write(asked, onto, place)
        model = ModelConfig(str(place), "none", config.device)
        losses[onto] = measure.loss(model, None, held_out, record, config.holes)
    four_bits = ModelConfig(str(asked.base.path), "nf4", config.device)
    served = measure.loss(four_bits, asked.adapter, held_out, record, config.holes)
    choice = choose.by_loss(losses, served)
    for file in candidates[choice.onto].iterdir():
        file.rename(folder / file.name)
    return choice


def _write(asked: Export, onto: Onto, folder: Path) -> None:
    """The merged model in `folder`."""
    with _weights(asked, onto) as weights:
        merge.write(asked.base, asked.lora, weights, folder)


@contextmanager
def _weights(asked: Export, onto: Onto) -> Generator[merge.Weights]:
    """What stands in for the base's weights: nothing, or what its 4-bit form multiplies with."""
    if onto == "bf16":
        yield {}
        return
    loaded = loading.load(ModelConfig(str(asked.base.path), "nf4", asked.config.device))
    yield loading.dequantised(loaded.model)
    del loaded
    gc.collect()


def _check_gguf(asked: Export) -> None:
    """Refuse what GGUF cannot hold before anything large is read."""
    from starling_server.gguf_export import architecture, vocabulary

    architecture.of(asked.base)
    vocabulary.of(asked.base)


def _gguf(asked: Export, folder: Path) -> None:
    """The merged model in `folder` as one GGUF beside it, or the bare base and the adapter."""
    from starling_server.gguf_export.write import write_adapter, write_base

    kind, name = asked.config.gguf_type, asked.adapter.name
    if asked.config.merge:
        write_base(bases.find(str(folder)), folder / f"{name}-{kind}.gguf", kind, name)
        return
    model, adapter = f"{asked.base.path.name}-{kind}.gguf", f"{name}-lora.gguf"
    write_base(asked.base, folder / model, kind, asked.base.path.name)
    write_adapter(asked.adapter.path, asked.base, folder / adapter)
    (folder / "README.md").write_text(card.gguf(asked.adapter, asked.base, model, adapter), encoding="utf-8")
