"""One run of `train-copilot export`: check everything, write to a temporary folder, move it into place when complete.

torch is imported for merging only; GGUF alone does not need it.
"""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from starling_server.errors import BaseModelError
from starling_server.models import adapters, bases, lora, manifest, safetensors_numpy
from starling_server.models.adapters import Adapter
from starling_server.models.bases import Base
from starling_server.models.lora import Lora, Shape
from starling_server.untrusted import shown
from starling_training import staging
from starling_training.export import export_card
from starling_training.export.export_config import ExportConfig


@dataclass(frozen=True, slots=True)
class Job:
    """One export."""

    config: ExportConfig
    adapter: Adapter
    base: Base
    lora: Lora
    output: Path
    console: Console


def run(config: ExportConfig, console: Console) -> Path:
    """Write the requested files and return their folder; raises subclasses of UsageError."""
    asked = find(config, console)
    with staging.staged(asked.output, config.overwrite) as folder:
        if config.merge:
            from starling_training.export import merge

            choice = merge.merged(asked, folder)
            (folder / "README.md").write_text(export_card.merged(asked.adapter, asked.base, choice), encoding="utf-8")
        if config.gguf:
            _gguf(asked, folder)
    console.print(f"Wrote {asked.output}", soft_wrap=True)
    return asked.output


def find(config: ExportConfig, console: Console) -> Job:
    """The job for `config`; raises a subclass of UsageError if a file is missing, damaged or incompatible."""
    adapter = adapters.find(config.adapter)
    output = (config.output or Path(f"{adapter.name}-{'merged' if config.merge else 'gguf'}")).absolute()
    staging.check(output, config.overwrite)
    base = bases.find(adapter.manifest.base.id if config.base == "auto" else config.base)
    if base.gguf is not None:
        from starling_server.backends.torch import gguf_weights

        base = gguf_weights.as_folder(base)
    of_gguf = bases.is_gguf(base.id)
    manifest.check(adapter.manifest, base.id, bases.fingerprint(base), base.model_type, bases.kin(base), of_gguf)
    if base.quantization:
        raise BaseModelError(f"Base {base.id!r} is quantised: name its 16-bit version with --base.")
    if config.gguf:
        _check_gguf(base)
    return Job(config, adapter, base, _read(adapter, base), output, console)


def _gguf(asked: Job, folder: Path) -> None:
    """Write the merged model in `folder` as one GGUF, or the bare base and the adapter as two."""
    from starling_server.backends.llamacpp.gguf_export.write import write_adapter, write_base

    kind, name = asked.config.gguf_type, asked.adapter.name
    if asked.config.merge:
        write_base(bases.find(str(folder)), folder / f"{name}-{kind}.gguf", kind, name)
        return
    model, adapter = f"{asked.base.path.name}-{kind}.gguf", f"{name}-lora.gguf"
    write_base(asked.base, folder / model, kind, asked.base.path.name)
    write_adapter(asked.adapter.path, asked.base, folder / adapter)
    (folder / "README.md").write_text(export_card.gguf(asked.adapter, asked.base, model, adapter), encoding="utf-8")


def _read(adapter: Adapter, base: Base) -> Lora:
    """The adapter's matrices, after a check that the headers of adapter and base match."""
    outline = lora.outline(adapter.path)
    try:
        stored = safetensors_numpy.listed(safetensors_numpy.weights_of(base.path))
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"The weights of base {base.id!r} cannot be read ({shown(error)}): download it again."
        ) from error

    def shape(module: str) -> Shape | None:
        own = stored[f"{module}.weight"].shape if f"{module}.weight" in stored else ()
        return (own[0], own[1]) if len(own) == 2 else None

    outline.check(shape)
    return outline.read()


def _check_gguf(base: Base) -> None:
    """Raise BaseModelError for an architecture or vocabulary that GGUF does not support."""
    from starling_server.backends.llamacpp.gguf_export import architecture, vocabulary

    architecture.of(base)
    vocabulary.of(base)
