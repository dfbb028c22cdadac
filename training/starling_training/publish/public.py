"""The public part of an adapter's record: no local folders, file names or code.

Only the manifest fields listed here are published; a new field stays private until it is listed.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from starling_server.models.manifest import BaseRecord, Manifest
from starling_training.config import DataConfig, LoraConfig, OptimConfig

DATA = ("files", "characters", "tokens (estimated)", "languages", "licences", "dropped", "redacted")
CONFIGS = (DataConfig, LoraConfig, OptimConfig)
TRAINING = (*(field.name for group in CONFIGS for field in fields(group)), "quantized", "ended", "best_step", "curve")
FIGURES = (
    "middle loss", "exact match", "first line", "edit similarity", "identifiers", "length ratio", "stop rate",
    "valid syntax",
)  # fmt: skip
RESULTS = ("holes", *FIGURES, "by kind", "by language", "canaries")


def manifest(record: Manifest) -> Manifest:
    """The public copy of `record`; it still identifies the base and the prompt format of the adapter."""
    return record.model_copy(
        update={
            "workspace": None,
            "base": record.base.model_copy(update={"id": base(record.base)}),
            "data": {"sources": sources(record), **_only(record.data, DATA)},
            "training": _only(record.training, TRAINING),
            "results": _only(record.results, RESULTS),
        }
    )


def base(record: BaseRecord) -> str:
    """The base's public name: a Hub id unchanged, a folder by its last part."""
    return record.id if record.revision else Path(record.id).name


def sources(record: Manifest) -> list[str]:
    """The public names of the sources, without parent folders and addresses."""
    return [source["name"] for source in record.data.get("sources", []) if isinstance(source, dict)]


def _only(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
