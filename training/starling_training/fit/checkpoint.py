"""A run in progress on disk, so that an interrupted run can be resumed.

It is stored in a hidden folder beside the output and removed when the run ends. `trainer_state.json` is written last,
so a checkpoint that contains it is complete; the previous checkpoint is kept until then.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from starling_server import untrusted
from starling_server.errors import UsageError
from starling_training.sources import origins

CONFIG, BEST, TRAINER, STATE = "config.json", "best", "trainer", "trainer_state.json"


def place(output: Path) -> Path:
    """The folder for the checkpoints of the run that will become `output`."""
    return output.parent / f".{output.name}.training"


@contextmanager
def alone(output: Path) -> Generator[None]:
    """Lock `output` against other runs while the block runs; raises UsageError if a run already holds the lock."""
    locks = origins.cache_home() / "locks"
    locks.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = hashlib.sha256(os.fsencode(output.resolve())).hexdigest()[:24]
    try:
        with FileLock(locks / name, blocking=False):
            yield
    except Timeout as error:
        raise UsageError(f"Another run is writing {output}: wait for it, or name another --output.") from error


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of the run in `folder`."""
    whole = [state.parent for state in (folder / TRAINER).glob(f"checkpoint-*/{STATE}")]
    steps = {path: path.name.rpartition("-")[2] for path in whole}
    return max((path for path in whole if steps[path].isdecimal()), key=lambda path: int(steps[path]), default=None)


def state(checkpoint: Path, name: str) -> dict[str, Any]:
    """The state that the callback class `name` exported into the checkpoint; raises UsageError if it is damaged."""
    read = _read(checkpoint / STATE)
    try:
        return read["stateful_callbacks"][name]
    except (KeyError, TypeError) as error:
        raise _damaged(checkpoint / STATE) from error


def begin(folder: Path, config: Mapping[str, Any], resume: bool, overwrite: bool) -> Path | None:
    """Prepare `folder` for a run with this `config`. Returns the checkpoint to resume from, None for a new start.

    Raises UsageError if a run exists and neither flag is given, if there is no run to resume, or if the existing run
    has another configuration.
    """
    found = latest(folder)
    if resume:
        if found is None:
            raise UsageError(f"There is no checkpoint in {folder} to resume: train without --resume.")
        _check_same(_read(folder / CONFIG), config)
        return found
    if found and not overwrite:
        raise UsageError(
            f"{folder} holds an interrupted run: add --resume to continue it, or --overwrite to start again."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return None


def end(folder: Path, keep: bool) -> None:
    """Remove the run, unless `keep` is set and it holds a checkpoint."""
    if not (keep and latest(folder)):
        shutil.rmtree(folder, ignore_errors=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        read = untrusted.values(untrusted.read(file, untrusted.MOST_BYTES))
    except (OSError, ValueError) as error:
        raise _damaged(file) from error
    if not isinstance(read, dict):
        raise _damaged(file)
    return read


def _damaged(file: Path) -> UsageError:
    return UsageError(f"{file} of the interrupted run is damaged: start again with --overwrite.")


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differing = [name for name in now if before.get(name) != json.loads(json.dumps(now[name]))]
    if differing:
        raise UsageError(
            f"The interrupted run had other settings ({', '.join(differing)} differ): use --resume with the same "
            "source and flags, or start again with --overwrite."
        )
