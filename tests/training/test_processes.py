"""Which GPU a process takes."""

import os

import pytest

from starling_training import processes


@pytest.mark.parametrize(
    ("seen", "device", "named", "left"),
    [
        ("", "cuda:1", "cuda:0", "1"),
        ("4,7", "cuda:1", "cuda:0", "7"),
        ("4", "cuda:1", "cuda:1", "4"),
        ("4,7", "cuda", "cuda", "4,7"),
        ("", "cpu", "cpu", ""),
    ],
)
def test_the_gpu_that_was_named_is_the_only_one_to_be_seen(
    monkeypatch: pytest.MonkeyPatch, seen: str, device: str, named: str, left: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert processes.only_gpu(device) == named
    assert os.environ["CUDA_VISIBLE_DEVICES"] == left
