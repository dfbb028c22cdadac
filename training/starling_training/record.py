"""The manifest that a run leaves beside the weights."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from starling_server import bases, loading, manifest
from starling_server.bases import Base
from starling_server.manifest import BaseRecord, FimRecord, Manifest
from starling_training.config import TrainConfig
from starling_training.corpus import Corpus
from starling_training.evaluate import Comparison
from starling_training.split import Split
from starling_training.watch import Curve

LIBRARIES = ("starling", "torch", "transformers", "peft", "trl", "bitsandbytes", "datasets")


def describe(config: TrainConfig, base: Base, family: str, corpus: Corpus, split: Split, curve: Curve) -> Manifest:
    """The manifest of a finished run, without results."""
    return Manifest(
        name=config.name,
        created=datetime.now(UTC),
        base=BaseRecord(
            id=base.id, revision=base.revision, fingerprint=bases.fingerprint(base), model_type=base.model_type
        ),
        fim=FimRecord(
            family=family,
            order="spm",
            context_tokens=config.data.context_tokens,
            max_tokens=config.data.max_tokens,
        ),
        workspace=str(corpus.root) if corpus.root else None,
        data=_data(corpus, split),
        training=_training(config, curve),
        versions={name: version(name) for name in LIBRARIES},
    )


def write(record: Manifest, folder: Path) -> None:
    """Write `record` into `folder`."""
    (folder / manifest.MANIFEST).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def results(figures: Mapping[str, Comparison], holes: int) -> dict[str, Any]:
    """What the manifest says about how good the adapter is; empty where it was not judged."""
    return {"holes": holes, **{name: asdict(figure) for name, figure in figures.items()}} if figures else {}


def _data(corpus: Corpus, split: Split) -> dict[str, Any]:
    return {
        "sources": [origin.named for origin in corpus.origins],
        "commit": corpus.commit,
        "files": len(corpus.documents),
        "characters": corpus.chars,
        "languages": corpus.languages,
        "licences": corpus.licences,
        "dropped": corpus.dropped | ({"near duplicate": split.near_duplicates} if split.near_duplicates else {}),
        "redacted": dict(Counter(redaction.kind for redaction in corpus.redactions).most_common()),
        "held_out": [document.path for document in split.held_out],
    }


def _training(config: TrainConfig, curve: Curve) -> dict[str, Any]:
    return {
        **asdict(config.data),
        **asdict(config.lora),
        **asdict(config.optim),
        "quantized": loading.in_four_bits(config.model),
        "ended": curve.ended,
        "best_step": curve.best.step,
        "curve": [asdict(point) for point in curve.points],
    }
