"""Files that a run writes beside the weights: the manifest, the reports, the model card and the list of sources."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starling_server.models import bases, manifest
from starling_server.models.bases import Base
from starling_server.models.manifest import BaseRecord, FimRecord, Manifest
from starling_server.prompt.fim import Fim
from starling_training.config import TrainConfig
from starling_training.fit.schedule import Curve
from starling_training.report import inventory as sources_read
from starling_training.report import model_card, summary, training_page
from starling_training.report.inventory import Inventory
from starling_training.scoring.scores import Group, Scores
from starling_training.scoring.trials import Trial
from starling_training.settings import Setting

REPORT, PAGE = "report.md", "report.html"
LIBRARIES = ("starling", "torch", "transformers", "peft", "trl", "bitsandbytes", "datasets")


@dataclass(frozen=True, slots=True)
class Given:
    """Inputs of a run."""

    config: TrainConfig
    """Resolved."""
    settings: Sequence[Setting]
    base: Base
    four_bits: bool
    """Whether the base was in 4 bits during training."""
    fim: Fim
    """The format of the prompts."""
    workspace: Path | None
    inventory: Inventory


def describe(given: Given, curve: Curve) -> Manifest:
    """The manifest of a finished run, without results."""
    config, base = given.config, given.base
    return Manifest(
        name=config.name,
        created=datetime.now(UTC),
        base=BaseRecord(
            id=base.id,
            revision=base.revision,
            fingerprint=bases.fingerprint(base),
            kin=bases.kin(base),
            from_gguf=bases.is_gguf(base.id),
            model_type=base.model_type,
        ),
        fim=FimRecord.of(given.fim, config.data.context_tokens, config.data.max_tokens, config.data.repository_tokens),
        workspace=str(given.workspace) if given.workspace else None,
        data=_data(given.inventory),
        training=_training(given, curve) | {"settings": [asdict(setting) for setting in given.settings]},
        versions={name: version(name) for name in LIBRARIES},
    )


def write_manifest(record: Manifest, folder: Path) -> None:
    """Write `record` into `folder`."""
    (folder / manifest.MANIFEST).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def results(scores: Scores, holes: int) -> dict[str, Any]:
    """Evaluation results for the manifest; empty without an evaluation."""
    if not scores.figures:
        return {}
    groups = {"by kind": _groups(scores.by_kind), "by language": _groups(scores.by_language)}
    return _group(Group(holes, scores.figures)) | groups


@dataclass(frozen=True, slots=True)
class Found:
    """A finished run."""

    manifest: Manifest
    inventory: Inventory
    scores: Scores
    trials: Sequence[Trial]
    base: Base


def write(folder: Path, found: Found) -> None:
    """Write all files into `folder`."""
    manifest, scores = found.manifest, found.scores
    sources_read.write(found.inventory, folder)
    texts = {
        REPORT: summary.render(manifest, scores, found.trials, found.inventory.left_out),
        PAGE: training_page.render(manifest, found.inventory, scores, found.trials),
        model_card.CARD: model_card.render(manifest, scores, model_card.licence(found.base)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _groups(groups: Mapping[str, Group]) -> dict[str, Any]:
    return {name: _group(group) for name, group in groups.items()}


def _group(group: Group) -> dict[str, Any]:
    return {"holes": group.holes, **{name: asdict(figure) for name, figure in group.figures.items()}}


def _data(inventory: Inventory) -> dict[str, Any]:
    return {
        "sources": [asdict(source) for source in inventory.sources],
        "files": inventory.files,
        "characters": inventory.characters,
        "tokens (estimated)": inventory.tokens,
        "languages": inventory.languages,
        "licences": inventory.licences,
        "dropped": inventory.dropped,
        "redacted": inventory.hidden,
        "held_out": list(inventory.held_out),
        "held_out_of": list(inventory.held_out_of),
    }


def _training(given: Given, curve: Curve) -> dict[str, Any]:
    config = given.config
    return {
        **asdict(config.data),
        **asdict(config.lora),
        **asdict(config.optim),
        "quantized": config.lora.method != "full" and given.four_bits,
        "ended": curve.ended,
        "best_step": curve.best.step,
        "curve": [asdict(point) for point in curve.points],
    }
