"""An output folder is whole or not there."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from starling_server.errors import OutputError
from starling_training import staging


def fail(error: BaseException) -> None:
    raise error


def half(output: Path, error: BaseException) -> None:
    """Write something, then fail."""
    with staging.staged(output, overwrite=True) as folder:
        (folder / "half").write_text("2")
        fail(error)


class SafetensorError(Exception):
    """By name and words the one that safetensors raises."""


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "adapter"
    with staging.staged(output, overwrite=False) as folder:
        assert folder.name == "adapter"
        (folder / "weights").write_text("1")
        assert not output.exists()
    assert entries(output) == ["weights"]
    assert entries(output.parent) == ["adapter"]


def test_the_old_one_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "adapter"
    output.mkdir()
    (output / "old").write_text("1")
    with staging.staged(output, overwrite=True) as folder:
        (folder / "new").write_text("2")
        assert entries(output) == ["old"]
    assert entries(output) == ["new"]
    assert entries(tmp_path) == ["adapter"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "I/O error")])
def test_a_failure_leaves_everything_as_it_was(tmp_path: Path, error: BaseException) -> None:
    output = tmp_path / "adapter"
    output.mkdir()
    (output / "old").write_text("1")
    with pytest.raises(type(error)):
        half(output, error)
    assert entries(output) == ["old"]
    assert entries(tmp_path) == ["adapter"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        SafetensorError('Os { code: 28, kind: StorageFull, message: "No space left on device" }'),
    ],
)
def test_a_full_disk_is_one_sentence(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OutputError, match="no room left"), staging.staged(tmp_path / "adapter", overwrite=False):
        fail(error)
    assert entries(tmp_path) == []


def taken(output: Path) -> None:
    output.mkdir()
    (output / "file").write_text("mine")


def a_file(output: Path) -> None:
    output.write_text("mine")


@pytest.mark.parametrize(("make", "words"), [(taken, "--overwrite"), (a_file, "is a file")])
def test_a_taken_place_is_refused(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "adapter")
    with pytest.raises(OutputError, match=words):
        staging.check(tmp_path / "adapter", overwrite=False)


def test_an_empty_folder_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    with staging.staged(tmp_path / "adapter", overwrite=False) as folder:
        (folder / "new").write_text("2")
    assert entries(tmp_path / "adapter") == ["new"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), staging.staged(tmp_path / "file" / "a", False):
        pass


def test_a_file_elsewhere_is_no_matter_of_the_output(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/somewhere/else")
    with pytest.raises(PermissionError), staging.staged(tmp_path / "adapter", overwrite=False):
        raise error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
def test_torch_on_a_full_disk_is_no_stack_trace(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no room"), staging.staged(tmp_path / "adapter", overwrite=True):
        torch.save({"state": torch.zeros(1 << 16)}, "/dev/full")
