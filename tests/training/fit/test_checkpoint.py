"""One run at a time makes an output."""

from pathlib import Path

import pytest

from starling_server.errors import UsageError
from starling_training.fit import checkpoint


def test_a_second_run_into_the_same_output_waits_its_turn(tmp_path: Path) -> None:
    with checkpoint.alone(tmp_path / "adapter"):
        with checkpoint.alone(tmp_path / "other"):
            pass
        with pytest.raises(UsageError, match="Another run is writing"), checkpoint.alone(tmp_path / "adapter"):
            pass
    with checkpoint.alone(tmp_path / "adapter"):
        pass
