"""What of an adapter's record others may read: no folders of this machine, no names of files, no code.

Of the manifest what is named here is published and nothing else; what is new stays private until it is named too.
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
    """`record` as others may have it; it still says which base and which prompts the adapter is for."""
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
    """What the base is called: a Hub id as it is, a folder by its last part."""
    return record.id if record.revision else Path(record.id).name


def sources(record: Manifest) -> list[str]:
    """What the sources are called: no folders above them, no addresses."""
    return [source["name"] for source in record.data.get("sources", []) if isinstance(source, dict)]


def _only(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
