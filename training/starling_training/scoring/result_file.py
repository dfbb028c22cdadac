"""A run as a JSON file with every answer, for comparison with later runs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from starling_server import untrusted
from starling_server.errors import UsageError
from starling_training.examples.spans import Hole
from starling_training.scoring.keystroke_counts import Typed
from starling_training.scoring.trials import Trial
from starling_training.staging import replaced

VERSION = 1
TRAINED_ON, OTHERS = "trained on", "other sources"
"""Setting with the adapter's training sources, and its value if none of them is the evaluated one."""
LINES_BEFORE, LINES_AFTER = 12, 6
"""Lines of a document saved before and after a hole."""


@dataclass(frozen=True, slots=True)
class Run:
    """The holes and answers of one run."""

    title: str
    """Name of the evaluated source."""
    created: str
    """ISO 8601."""
    sides: tuple[str, ...]
    """Names of the engines: base and adapter, or a single one whose answers are used for both."""
    settings: Mapping[str, str]
    trials: tuple[Trial, ...]
    keys: tuple[str, ...]
    """Identity of each trial across runs (`key`)."""
    typed: tuple[Typed, ...] = ()

    @property
    def elsewhere(self) -> bool:
        """Whether the adapter is known to be trained on other sources only."""
        return self.settings.get(TRAINED_ON) == OTHERS


def key(hole: Hole) -> str:
    """Identity of a hole: equal for the same place in the same text, whatever the answer."""
    around = f"{hole.prefix}\0{hole.middle}\0{hole.suffix}".encode("utf-8", "replace")
    return hashlib.sha256(around).hexdigest()[:20]


def write(run: Run, path: Path) -> None:
    """Write `run` to `path`."""
    entries = [asdict(replace(trial, hole=_shown(trial.hole))) for trial in run.trials]
    for entry, known in zip(entries, run.keys, strict=True):
        entry["key"] = known
    kept = {
        "version": VERSION, "title": run.title, "created": run.created, "sides": run.sides,
        "settings": dict(run.settings), "trials": entries, "typed": [asdict(text) for text in run.typed],
    }  # fmt: skip
    with replaced(path) as new:
        new.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Run:
    """Read the run that `write` wrote; raises UsageError."""
    try:
        content = untrusted.read(path, untrusted.MOST_BYTES)
    except untrusted.Unfit as error:
        raise UsageError(f"{path} {error}: name a file written by --json.") from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror or error}): name a file written by --json."
        ) from error
    try:
        kept: Mapping[str, Any] = untrusted.values(content)
        if kept["version"] != VERSION:
            raise UsageError(f"{path} was written by another version of eval-copilot: run it again with this one.")
        json.dumps(kept, ensure_ascii=False).encode()  # refuses lone surrogates, which no page can hold
        trials, typed = kept["trials"], kept["typed"]
        run = {name: kept[name] for name in ("title", "created", "sides", "settings")}
        keys = [entry["key"] for entry in trials]
        return TypeAdapter(Run).validate_python({**run, "trials": trials, "keys": keys, "typed": typed})
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a result of eval-copilot: name a file that --json wrote.") from error


def joined(first: Run, second: Run) -> Run:
    """The last side of each run at the holes common to both; raises UsageError if there are none."""
    known = dict(zip(second.keys, second.trials, strict=True))
    both = [
        (shared, replace(trial, base=trial.adapter, adapter=known[shared].adapter))
        for shared, trial in zip(first.keys, first.trials, strict=True)
        if shared in known
    ]
    texts = {(text.path, text.text): text for text in second.typed}
    typed = [
        replace(text, base=text.adapter, adapter=texts[text.path, text.text].adapter)
        for text in first.typed
        if (text.path, text.text) in texts
    ]
    if not both and not typed:
        raise UsageError("The two runs have no holes in common: run the second one with the first one's --holes-file.")
    return Run(
        first.title, second.created, _names(first.sides[-1], second.sides[-1]), {},
        tuple(trial for _, trial in both), tuple(shared for shared, _ in both), tuple(typed),
    )  # fmt: skip


def _names(first: str, second: str) -> tuple[str, str]:
    return (f"{first} (first)", f"{second} (second)") if first == second else (first, second)


def _shown(hole: Hole) -> Hole:
    before, after = hole.prefix.split("\n"), hole.suffix.split("\n")
    return replace(hole, prefix="\n".join(before[-LINES_BEFORE:]), suffix="\n".join(after[:LINES_AFTER]))
