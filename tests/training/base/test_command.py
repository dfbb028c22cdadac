"""The whole recipe at toy size: real packages, a stop, another go, a base that serves, and its figures."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from starling_server.backends.torch.loading import Loaded
from starling_server.config import ModelConfig, ServiceConfig
from starling_server.schema import CompleteRequest
from starling_server.serve.start import start
from starling_training.base import collect, pretrain, stream

SOURCES = sorted((Path(__file__).parents[3] / "server" / "starling_server").rglob("*.py"))
PACKAGES = ["--only", "attrs", "--only", "h11"]
SIZE = ["--layers", "2", "--width", "64", "--heads", "1", "--vocabulary", "1024"]
TOY = [*PACKAGES, *SIZE, "--tokens", "65536", "--step-tokens", "2048"]


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    made = [sys.executable, "-m", "starling_training.base", *arguments]
    return subprocess.run(made, capture_output=True, text=True, check=False)


@pytest.mark.slow
async def test_from_packages_to_a_base_that_serves(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    stopped = command("all", "--folder", str(folder), *TOY, "--minutes", "0.01")
    assert stopped.returncode == 0, stopped.stderr
    record = json.loads((folder / collect.RECORD).read_text())
    assert {entry["name"] for entry in record["learnt"]} == {"attrs", "h11"}
    assert 0 < pretrain.read_progress(folder / "run")["tokens"] < 65536
    wheels = (folder / "wheels").stat().st_mtime_ns

    finished = command("all", "--folder", str(folder), *TOY)
    assert finished.returncode == 0, finished.stderr
    assert "65,536 of 65,536 tokens learnt" in finished.stdout
    assert (folder / "wheels").stat().st_mtime_ns == wheels, "what was there was made again"

    service = start(ModelConfig(base=str(folder / "model")), ServiceConfig())
    answer = await service.complete(CompleteRequest(prefix="def add(a, b):\n    return "))
    service.close()
    assert answer.usage.completion_tokens > 0

    measured = command("measure", "--folder", str(folder), "--holes", "4")
    assert measured.returncode == 0, measured.stderr
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["line"]["holes"] == 4
    before, now = (sum(values.values()) / 12 for values in figures["bits per byte"].values())
    assert 0 < before < now < 8
    card = (folder / "model" / "README.md").read_text()
    assert "| mean |" in card
    assert "attrs 26.1.0 (MIT)" in card


def test_training_without_a_corpus_says_what_to_do(tmp_path: Path) -> None:
    refused = command("train", "--folder", str(tmp_path))
    assert refused.returncode == 2
    assert "run `tokenize` with this --folder first" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_ctrl_c_keeps_what_was_learnt(tiny: Loaded, tmp_path: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    stream.write(texts, Tokenizer.from_file(str(tiny.base.path / "tokenizer.json")), tiny.fim.end, tmp_path)
    shutil.copytree(tiny.base.path, tmp_path / "tokenizer", ignore=shutil.ignore_patterns("*.safetensors"))
    endless = ["--tokens", "100000000", *SIZE, "--vocabulary", str(tiny.tokenizer.size), "--step-tokens", "2048"]
    asked = [sys.executable, "-m", "starling_training.base", "train", "--folder", str(tmp_path), *endless]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert "tokens/s" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        said, complaint = running.communicate(timeout=120)
    assert running.returncode == 0, complaint
    assert "of 100,000,000 tokens learnt" in said
    assert pretrain.read_progress(tmp_path / "run")["tokens"] > 0
