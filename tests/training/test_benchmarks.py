"""Benchmarks that nobody runs every day still run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def last_line(script: str, *arguments: str) -> dict[str, object]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_training_at_a_toy_size(method: str) -> None:
    figures = last_line(
        "train_gpu.py", "--shapes", "toy", "--batch", "2", "--length", "64", "--steps", "3", "--method", method
    )
    assert figures["method"] == method
    sizes = figures["sizes"]
    assert isinstance(sizes, list)
    assert sizes[0]["tokens_per_second"] > 0
    assert sizes[0]["planned_gb"] > 0
