"""What a run leaves for people beside the weights: reports to read, a card to publish, the account of the sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starling_server.models.bases import Base
from starling_server.models.manifest import Manifest
from starling_training.report import inventory, licence, model_card, summary, training_page
from starling_training.report.inventory import Inventory
from starling_training.scoring.scores import Scores
from starling_training.scoring.trials import Trial

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
        REPORT: summary.render(manifest, scores, found.trials, found.inventory.left_out),
        PAGE: training_page.render(manifest, found.inventory, scores, found.trials),
        CARD: model_card.render(manifest, scores, licence.of(found.base)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
