"""The licence of a base, by its own card."""

from huggingface_hub import metadata_load
from yaml import YAMLError

from starling_server.models.bases import Base

CARD = "README.md"


def of(base: Base) -> str | None:
    """The licence that the base's card names; None where it has no card on this disk, or one without."""
    card = base.path / CARD
    try:
        front = metadata_load(card) if card.is_file() else None
    except (ValueError, YAMLError):
        return None
    named = (front or {}).get("license")
    return named if isinstance(named, str) else None
