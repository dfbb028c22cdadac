"""Files of ours that users give back, changed or made by others: results, holes, adapters, stopped runs, bases."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import adapter as adapters_made

from starling_server import untrusted
from starling_server.errors import AdapterError, BaseModelError, UsageError
from starling_server.models import adapters, bases, lora, safetensors_numpy
from starling_training import staging
from starling_training.evaluation import holes
from starling_training.fit import checkpoint
from starling_training.sources import corpus

DEEP = "[" * 100_000 + "]" * 100_000
TRIAL: dict[str, Any] = {
    "path": "a.py", "hole": {"prefix": "a", "middle": "b", "suffix": "c", "kind": "line"}, "truth": "b",
    "base": {"text": "b", "stopped": True}, "adapter": {"text": "c", "stopped": True}, "near": "", "key": "1",
}  # fmt: skip
RUN: dict[str, Any] = {
    "version": 1, "title": "t", "created": "2026", "sides": ["base", "x"], "settings": {}, "trials": [TRIAL],
    "typed": [],
}  # fmt: skip
PLACE = {"path": "a.py", "sha256": "0", "start": 0, "end": 1, "kind": "line"}


def command(*words: str | Path) -> str:
    """What the real eval-copilot says in its one sentence before it ends with status 2."""
    run = [sys.executable, "-m", "starling_training.evaluation", *map(str, words)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


@contextmanager
def somebody() -> Generator[None]:
    """As a user whom files with mode 0 are closed to: root reads everything."""
    before = os.geteuid()
    if not before:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def open_to_all(folder: Path) -> None:
    """Every folder above is one that `somebody` may pass through."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o055)


@pytest.mark.parametrize(
    "content",
    [
        b"", DEEP, '{"version": 1}', json.dumps([RUN]), json.dumps(RUN | {"trials": 5}), b"\xff\xfe{}", "9" * 10_000,
        json.dumps(RUN | {"trials": [TRIAL | {"truth": 5}]}), json.dumps(RUN | {"title": "\ud800"}),
        json.dumps(RUN | {"trials": [TRIAL | {"base": []}]}), json.dumps(RUN | {"settings": [1]}),
    ],
)  # fmt: skip
def test_results_that_are_none(content: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "sound.json").write_text(json.dumps(RUN))
    (tmp_path / "odd.json").write_bytes(content.encode() if isinstance(content, str) else content)
    assert "is not a result of eval-copilot" in command("compare", tmp_path / "sound.json", tmp_path / "odd.json")


def test_results_that_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "sound.json").write_text(json.dumps(RUN))
    os.mkfifo(tmp_path / "pipe.json")
    assert "is not a regular file" in command("compare", tmp_path / "sound.json", tmp_path / "pipe.json")


@pytest.mark.parametrize("content", [DEEP, "[1]", "5", json.dumps(PLACE | {"start": "x"}), "\x00"])
def test_holes_that_are_none(content: str, tmp_path: Path) -> None:
    for number in range(6):
        text = "".join(f"def word_{number}_{n}(value):\n    return value + {n}\n" for n in range(20))
        (tmp_path / f"m{number}.py").write_text(text)
    (tmp_path / "holes").write_text(content)
    assert "has no positions" in command(tmp_path, "--base", "tiny", "--holes-file", tmp_path / "holes")


@pytest.mark.parametrize(
    "row",
    [
        '{"task_id":' + DEEP + "}", "[1]",
        json.dumps({"task_id": 5, "prompt": 5, "suffix": 5, "canonical_solution": 5}),
        json.dumps({"a\nb" * 500: 1}), "9" * 10_000, json.dumps({"prompt": None}),
    ],
)  # fmt: skip
def test_benchmarks_that_are_none(row: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.jsonl").write_text(row + "\n")
    said = command("benchmark", "humaneval-infilling", tmp_path / "tasks.jsonl", "--base", "tiny")
    assert "Row 1 of" in said
    assert len(said) < 500


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return adapters_made.write(tmp_path / "ledger", bases.find("tiny"))


def config(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / lora.CONFIG
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def deep_config(folder: Path) -> None:
    (folder / lora.CONFIG).write_text(DEEP)


def header(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """The weights file with another table of contents."""

    def rewrite(folder: Path) -> None:
        content = (folder / adapters.WEIGHTS).read_bytes()
        length = int.from_bytes(content[:8], "little")
        table = json.loads(content[8 : 8 + length])
        new = json.dumps(change(table) or table).encode()
        (folder / adapters.WEIGHTS).write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length :])

    return rewrite


def huge(table: dict[str, Any]) -> None:
    next(entry for name, entry in table.items() if name != "__metadata__")["shape"] = [1 << 40, 1 << 10]


def negative(table: dict[str, Any]) -> None:
    next(entry for name, entry in table.items() if name != "__metadata__")["shape"] = [-1, -8]


@pytest.mark.parametrize(
    "damage",
    [
        deep_config, config(alpha_pattern={"(a*)*b": 1}), config(alpha_pattern={"(": 1}), config(alpha_pattern=[1]),
        config(alpha_pattern={".*": "x"}), config(lora_alpha=[1]), header(huge), header(negative),
        header(lambda table: [1]), header(lambda table: {"a": 5}),
    ],
)  # fmt: skip
def test_adapters_that_are_none(damage: Callable[[Path], None], adapter: Path) -> None:
    damage(adapter)
    with pytest.raises(AdapterError, match="train the adapter again"):
        lora.read(adapter)


@pytest.mark.parametrize("data", [{"held_out": 5}, {"sources": 5}, {"sources": [{}]}, {"held_out_of": []}])
def test_a_manifest_of_odd_data(data: dict[str, Any], adapter: Path) -> None:
    for number in range(6):
        text = "".join(f"def word_{number}_{n}(value):\n    return value + {n}\n" for n in range(20))
        (adapter.parent / f"m{number}.py").write_text(text)
    sound = {"sources": [{"named": str(adapter.parent)}], "held_out": ["m0.py"]}
    manifest = json.loads((adapter / "manifest.json").read_text())
    (adapter / "manifest.json").write_text(json.dumps(manifest | {"data": sound | data}))
    read = corpus.read([adapter.parent])
    with pytest.raises(AdapterError, match="damaged at data"):
        holes.parts(read, adapters.load(adapter).manifest)


def test_weights_that_may_not_be_read(adapter: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(bases.TINY_DIR, tmp_path / "base"))
    open_to_all(adapter)
    open_to_all(base)
    closed = (adapter / adapters.WEIGHTS, base / "model.safetensors")
    for file in closed:
        file.chmod(0)
    with somebody():
        for read in (adapters.load, lora.read):
            with pytest.raises(AdapterError, match=r"cannot be read \(permission denied\)"):
                read(adapter)
        with pytest.raises(BaseModelError, match=r"cannot be read \(permission denied\)"):
            bases.find(str(base))


def test_a_stopped_run_that_is_damaged(tmp_path: Path) -> None:
    step = tmp_path / checkpoint.TRAINER / "checkpoint-5"
    step.mkdir(parents=True)
    (tmp_path / checkpoint.TRAINER / "checkpoint-x").mkdir()
    for name in ("checkpoint-5", "checkpoint-x"):
        (tmp_path / checkpoint.TRAINER / name / checkpoint.STATE).write_text(DEEP)
    for content in (DEEP, "[1]", "", "\x00"):
        (tmp_path / checkpoint.CONFIG).write_text(content)
        with pytest.raises(UsageError, match="damaged"):
            checkpoint.begin(tmp_path, {}, resume=True, overwrite=False)
    with pytest.raises(UsageError, match="damaged"):
        checkpoint.state(step, "Watch")


def test_what_is_written_has_the_mode_that_the_umask_wants(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with staging.staged(tmp_path / "out", overwrite=False) as folder:
            (folder / "inner").mkdir()
            for place in (folder, folder / "inner"):
                save_file({"a": np.zeros(3)}, place / "weights.safetensors")
                (place / "weights.safetensors").chmod(0o600)
                (place / "notes").write_text("x")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}
    assert len(files) == 4
    assert set(load_file(tmp_path / "out" / "weights.safetensors")) == {"a"}


def test_json_of_any_kind(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert untrusted.values(untrusted.read(tmp_path / "a.json", 100)) == {"a": 1}
    with pytest.raises(ValueError, match="larger than"):
        untrusted.read(tmp_path / "a.json", 4)
    with pytest.raises(ValueError, match="is not valid JSON"):
        untrusted.values(DEEP.encode())
    (tmp_path / safetensors_numpy.WHOLE).write_bytes((2_000_000_000).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        safetensors_numpy.listed([tmp_path / safetensors_numpy.WHOLE])
