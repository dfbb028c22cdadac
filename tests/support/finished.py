"""A run that has ended, in values: what its papers are made of, without the minutes of training."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from starling_server.models import bases
from starling_server.models.adapters import WEIGHTS
from starling_server.models.manifest import BaseRecord
from starling_server.models.tokenizer import load_tokenizer
from starling_training.config import DataConfig, TrainConfig
from starling_training.examples.spans import Hole, Kind
from starling_training.fit.schedule import Curve, Point
from starling_training.report import outputs
from starling_training.report.inventory import Inventory, Source
from starling_training.report.outputs import Found
from starling_training.scoring.scores import scores
from starling_training.scoring.trials import Answer, Trial
from starling_training.settings import resolved

PRIVATE = ("/home/ada/secret-project", "gateway.py", "vault.ts", "unseal")
"""Of the run's machine and code: what must never be published."""
SOURCES = (
    Source(f"{PRIVATE[0]}/api", "api", f"{PRIVATE[0]}/api", "folder", "1f" * 20, 2.0, 40, 90_000, "ab" * 32),
    Source("hf:team/rows@main:train", "rows", "", "hub", "main", 1.0, 4, 9_000, "cd" * 32),
)
INVENTORY = Inventory(
    SOURCES,
    44,
    99_000,
    25_000,
    {"Python": 40, "TypeScript": 4},
    {"mit": 4},
    {"not source code": 7, "near duplicate": 1},
    {"AWS Access Key": [f"src/gateway.py:{line}" for line in range(1, 26)]},
    ("src/copy_of_gateway.py",),
    ("src/gateway.py", "web/vault.ts"),
    ("api", "rows"),
)


def trials(count: int = 40, code: str = "envelope.unseal()") -> list[Trial]:
    """Holes of two languages and kinds, where the adapter is better in three of four and worse in the others."""
    made = list[Trial]()
    for number in range(count):
        kind: Kind = "line" if number % 2 else "block"
        path = "web/vault.ts" if number % 5 == 0 else "src/gateway.py"
        hole = Hole(f"value_{number} = ", code, "\nreturn value\n", kind)
        right, wrong = Answer(code, True, 6.0 + number % 3, 4), Answer("pass", True, 12.0 + number % 3, 4)
        base, adapter = (right, wrong) if number % 4 == 0 else (wrong, right)
        made.append(Trial(path, hole, code, base, adapter))
    return made


def found(judged: list[Trial] | None = None) -> Found:
    """The finished run over the bundled base."""
    judged = trials() if judged is None else judged
    base = bases.find("tiny")
    sources = (f"{PRIVATE[0]}/api", "hf:team/rows")
    data = DataConfig(context_tokens=1024)
    config = TrainConfig(sources=sources, name="api", output=Path(PRIVATE[0]) / "out", data=data)
    given = outputs.Given(
        config,
        resolved(config, config, {"name": "flag", "sources": "flag"}),
        base,
        False,
        base.fim(load_tokenizer(base)),
        Path(PRIVATE[0]),
        INVENTORY,
    )
    points = [Point(0, 0, None, 4.6), Point(10, 5, 4.2, 4.0), Point(20, 10, 3.8, 3.7), Point(30, 15, 3.6, 3.9)]
    judgement = scores(judged)
    manifest = outputs.describe(given, Curve(points)).model_copy(
        update={"results": outputs.results(judgement, len(judged))}
    )
    return Found(manifest, INVENTORY, judgement, judged, base)


def adapter(folder: Path, base: BaseRecord | None = None) -> Path:
    """A folder as a run leaves it, its weights too small to be of use."""
    of_run = found()
    folder.mkdir(parents=True)
    outputs.write_manifest(of_run.manifest.model_copy(update={"base": base} if base else {}), folder)
    outputs.write(folder, of_run)
    save_file({"base_model.model.a.lora_A.weight": torch.ones(4, 8)}, folder / WEIGHTS)
    shape = {"peft_type": "LORA", "r": 4, "base_model_name_or_path": base.id if base else "tiny"}
    (folder / "adapter_config.json").write_text(json.dumps(shape))
    return folder
