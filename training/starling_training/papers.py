"""What a run leaves for people beside the weights: reports to read, a card to publish, the account of the sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starling_server.bases import Base
from starling_server.manifest import Manifest
from starling_training import card, inventory, licence, page, report
from starling_training.evaluation.scores import Scores
from starling_training.evaluation.trials import Trial
from starling_training.inventory import Inventory

REPORT, PAGE, CARD = "report.md", "report.html", "README.md"


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to write about."""

    manifest: Manifest
    inventory: Inventory
    scores: Scores
    trials: Sequence[Trial]
    base: Base


def write(folder: Path, found: Found) -> None:
    """Write all of it into `folder`."""
    manifest, scores = found.manifest, found.scores
    inventory.write(found.inventory, folder)
    texts = {
        REPORT: report.render(manifest, scores, found.trials, found.inventory.left_out),
        PAGE: page.render(manifest, found.inventory, scores, found.trials),
        CARD: card.render(manifest, scores, licence.of(found.base)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
