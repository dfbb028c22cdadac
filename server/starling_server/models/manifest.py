"""The record of a training run, stored as `manifest.json` beside the adapter's weights.

Serving refuses an adapter for another base or FIM format: a LoRA on other weights does not fail, it generates nonsense.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from starling_server import untrusted
from starling_server.errors import AdapterError
from starling_server.prompt.fim import Fim, Order
from starling_server.untrusted import Unfit, refusal, shown

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
FORMAT = 1
MOST_BYTES = 8 << 20
"""Maximum size of a manifest, which lists every held-out file."""
LEAST_PROMPT = 8
"""Minimum tokens of a prompt, sentinels included."""
Name = Annotated[str, Field(max_length=1024)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class BaseRecord(_Record):
    """The base that the adapter belongs to."""

    id: Name
    """The name as given: `tiny`, a Hub id or a directory."""
    revision: Name | None = None
    """Commit on the Hub, for a base from there."""
    fingerprint: Name
    """Hash of the base's config, tokenizer and weights (see `bases.fingerprint`)."""
    kin: Name | None = None
    """Hash that all forms of the base share (see `bases.kin`)."""
    from_gguf: bool = False
    """Whether the base was a GGUF file."""
    model_type: Name


class FimRecord(_Record):
    """How training wrote its prompts: `FimRecord.of` records it, and `prompt_format` serves it."""

    family: Name
    order: Order
    """The order of the prompts that an adapter is served with."""
    context_tokens: int = Field(le=1 << 24)
    """Prompt and longest middle together; serving cuts its windows to the same size."""
    max_tokens: int = Field(ge=1)
    """Longest middle with its end id; the window leaves room for it."""
    repository_tokens: int = Field(default=0, ge=0, le=1 << 24)
    """Max tokens of other files in the prompts that were learnt; 0 is none."""

    @classmethod
    def of(cls, fim: Fim, context_tokens: int, max_tokens: int, repository_tokens: int = 0) -> Self:
        """The record of prompts in the format `fim`."""
        return cls(
            family=fim.family,
            order=fim.order,
            context_tokens=context_tokens,
            max_tokens=max_tokens,
            repository_tokens=repository_tokens,
        )

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.context_tokens < self.max_tokens + LEAST_PROMPT:
            raise ValueError("no room for a prompt")
        return self


class Manifest(_Record):
    """The whole record; `format` increases with changes that older readers would misread."""

    format: int = FORMAT
    name: Name
    created: AwareDatetime
    base: BaseRecord
    fim: FimRecord
    workspace: str | None = None
    """Root of the directory that training read; an editor finds the adapter of its workspace by it."""
    data: dict[str, Any] = {}
    training: dict[str, Any] = {}
    results: dict[str, Any] = {}
    versions: dict[str, str] = {}

    @field_validator("data")
    @classmethod
    def _lists(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Raise ValueError where entries that other modules read have the wrong type."""
        sources, paths = data.get("sources", []), data.get("held_out", [])
        if not isinstance(sources, list) or not isinstance(paths, list):
            raise ValueError("no list")
        if not all(isinstance(path, str) and "\0" not in path for path in paths):  # pyright: ignore[reportUnknownVariableType]
            raise ValueError("no path")
        return data


def read(folder: Path) -> Manifest:
    """The manifest in `folder`; raises AdapterError where it is missing, damaged or too new."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(untrusted.read(untrusted.inside(path, folder), MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AdapterError(
            f"{shown(folder)} holds no readable {MANIFEST}: name a folder that train-copilot wrote."
        ) from error
    except (OSError, Unfit) as error:
        raise AdapterError(refusal(path, error, "train the adapter again")) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = shown(".".join(str(part) for part in first["loc"]) or "the file")
        raise AdapterError(
            f"{shown(path)} is damaged at {where} ({shown(first['msg'])}): train the adapter again."
        ) from error
    if manifest.format > FORMAT:
        raise AdapterError(
            f"{shown(path)} was written by a newer Starling (format {manifest.format}): update Starling."
        )
    return manifest


def prompt_format(fim: Fim, trained: FimRecord | None) -> Fim:
    """The format of prompts for an adapter that was `trained` so; the base's own `fim` for None, the bare base."""
    return fim if trained is None or trained.order == fim.order else replace(fim, order=trained.order)


def check(
    manifest: Manifest, base_id: str, fingerprint: str | None, family: str, kin: str | None = None, gguf: bool = False
) -> None:
    """Raise AdapterError unless the adapter was trained on this base with this FIM format.

    Without the base's weights there is no `fingerprint`, and names are compared. Where either base is a GGUF file
    (`gguf` for the one that is served), another form of the same base is allowed, by `kin`.
    """
    known, wanted = (manifest.base.id, base_id) if fingerprint is None else (manifest.base.fingerprint, fingerprint)
    if known != wanted and (gguf or manifest.base.from_gguf) and None is not kin == manifest.base.kin:
        log.info("adapter %s was trained over %s, another form of this base", shown(manifest.name), manifest.base.id)
    elif known != wanted:
        raise AdapterError(
            f"Adapter {shown(manifest.name)!r} was trained on base {shown(manifest.base.id)!r} and does not fit "
            f"{base_id!r}: start with --base {shown(manifest.base.id)}, or train it again."
        )
    if manifest.fim.family != family:
        raise AdapterError(
            f"Adapter {shown(manifest.name)!r} was trained with FIM format {shown(manifest.fim.family)!r}, "
            f"and this base uses {family!r}: train it again."
        )
