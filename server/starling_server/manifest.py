"""What an adapter was trained with, kept as `manifest.json` beside its weights.

Serving refuses an adapter whose base or FIM format is not the one that is loaded: a LoRA on other weights does not
fail, it only answers nonsense.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from starling_server import json_file
from starling_server.errors import AdapterError
from starling_server.fim import Order

MANIFEST = "manifest.json"
FORMAT = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class BaseRecord(_Record):
    """The base that the adapter belongs to."""

    id: str
    """As it was named: `tiny`, a Hub id or a directory."""
    revision: str | None = None
    """Commit on the Hub, where it came from there."""
    fingerprint: str
    """Hash of the base's config, tokenizer and weights (see `bases.fingerprint`)."""
    model_type: str


class FimRecord(_Record):
    """How prompts were written."""

    family: str
    order: Order
    context_tokens: int = Field(gt=0)
    """Prompt and longest middle together; serving cuts its windows to the same size."""
    max_tokens: int = Field(gt=0)
    """Longest middle with its end, which the window leaves room for."""


class Manifest(_Record):
    """The whole record; `format` rises when older readers would misread it."""

    format: int = FORMAT
    name: str
    created: datetime
    base: BaseRecord
    fim: FimRecord
    workspace: str | None = None
    """Root of the directory that was read, so that an editor's workspace finds its adapter."""
    data: dict[str, Any] = {}
    training: dict[str, Any] = {}
    results: dict[str, Any] = {}
    versions: dict[str, str] = {}


def read(folder: Path) -> Manifest:
    """The manifest in `folder`; raises AdapterError where it is missing, damaged or too new."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(json_file.content(path))
    except OSError as error:
        said = "" if isinstance(error, FileNotFoundError) else f" ({(error.strerror or str(error)).lower()})"
        raise AdapterError(
            f"{folder} holds no readable {MANIFEST}{said}: name a folder that train-copilot wrote."
        ) from error
    except ValueError as error:
        where = _where(error) if isinstance(error, ValidationError) else "the file"
        raise AdapterError(f"{path} is damaged at {where}: train the adapter again.") from error
    if manifest.format > FORMAT:
        raise AdapterError(f"{path} was written by a newer Starling (format {manifest.format}): update Starling.")
    return manifest


def _where(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file"


def check(manifest: Manifest, base_id: str, fingerprint: str | None, family: str) -> None:
    """Raise AdapterError unless the adapter was trained on this base with this FIM format.

    Without the base's weights there is no `fingerprint`, and its name has to do.
    """
    known, wanted = (manifest.base.id, base_id) if fingerprint is None else (manifest.base.fingerprint, fingerprint)
    if known != wanted:
        raise AdapterError(
            f"Adapter {manifest.name!r} was trained on base {manifest.base.id!r} and does not fit {base_id!r}: "
            f"start with --base {manifest.base.id}, or train it again."
        )
    if manifest.fim.family != family:
        raise AdapterError(
            f"Adapter {manifest.name!r} was trained with FIM format {manifest.fim.family!r}, "
            f"and this base uses {family!r}: train it again."
        )
