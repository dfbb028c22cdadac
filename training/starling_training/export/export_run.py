"""One run of `train-copilot export`: check everything, write beside the output, move it there when it is whole.

torch comes in for merging only; GGUF alone needs none.
"""

from pathlib import Path

from rich.console import Console

from starling_server.models import bases
from starling_training import staging
from starling_training.export import export_card, job
from starling_training.export.export_config import ExportConfig
from starling_training.export.job import Job


def run(config: ExportConfig, console: Console) -> Path:
    """Write what `config` asks for and return its folder; raises UsageError's kinds."""
    asked = job.find(config, console)
    with staging.staged(asked.output, config.overwrite) as folder:
        if config.merge:
            from starling_training.export import merge

            choice = merge.merged(asked, folder)
            (folder / "README.md").write_text(export_card.merged(asked.adapter, asked.base, choice), encoding="utf-8")
        if config.gguf:
            _gguf(asked, folder)
    console.print(f"Wrote {asked.output}", soft_wrap=True)
    return asked.output


def _gguf(asked: Job, folder: Path) -> None:
    """The merged model in `folder` as one GGUF beside it, or the bare base and the adapter."""
    from starling_server.backends.llamacpp.gguf_export.write import write_adapter, write_base

    kind, name = asked.config.gguf_type, asked.adapter.name
    if asked.config.merge:
        write_base(bases.find(str(folder)), folder / f"{name}-{kind}.gguf", kind, name)
        return
    model, adapter = f"{asked.base.path.name}-{kind}.gguf", f"{name}-lora.gguf"
    write_base(asked.base, folder / model, kind, asked.base.path.name)
    write_adapter(asked.adapter.path, asked.base, folder / adapter)
    (folder / "README.md").write_text(export_card.gguf(asked.adapter, asked.base, model, adapter), encoding="utf-8")
