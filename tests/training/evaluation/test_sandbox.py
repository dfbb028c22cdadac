"""Code of a model is run: what it starts is gone afterwards, and how much it starts and writes is bounded."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from starling_training.evaluation import execute
from starling_training.evaluation.execute import Limits

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are followed on Linux")


@pytest.fixture(params=["apart", "here"], autouse=True)
def apart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a process namespace of its own, where the system gives one, and without."""
    if request.param == "here":
        monkeypatch.setenv("PATH", str(Path(sys.executable).parent) + ":/bin:/usr/bin")
        monkeypatch.setattr(execute, "APART", ("unshare", "--no-such-flag"))
    execute.apart.cache_clear()


def python(code: str, folder: Path, limits: Limits) -> execute.Outcome:
    return execute.run([sys.executable, "-I", "-c", code], folder, limits)


def left(mark: Path) -> list[psutil.Process]:
    found = list[psutil.Process]()
    for process in psutil.process_iter():
        try:
            found += [process] if str(mark) in process.cmdline() else []
        except psutil.Error:
            continue
    return found


FLEES = """
import subprocess, sys, time
subprocess.Popen(["sh", "-c", "(setsid sh -c 'echo > {mark}; sleep 60; exit' {mark} &)"]).wait()
import os
while not os.path.exists("{mark}"):
    time.sleep(0.01)
{then}
"""


@pytest.mark.parametrize("then", ["raise SystemExit(3)", "time.sleep(60)"])
def test_a_process_in_a_session_of_its_own_does_not_outlive_the_run(tmp_path: Path, then: str) -> None:
    mark = tmp_path / "fled"
    flees = FLEES.replace("{mark}", str(mark)).replace("{then}", then)  # noqa: RUF027 - a place in the program
    found = python(flees, tmp_path, Limits(5))
    assert found.status == (3 if then.startswith("raise") else None)
    assert mark.exists()
    assert left(mark) == []


def test_processes_are_bounded_for_root_too(tmp_path: Path) -> None:
    code = "import subprocess, time\nfor _ in range(100): subprocess.Popen(['sleep', '60'])\ntime.sleep(60)\n"
    found = python(code, tmp_path, Limits(60, processes=20))
    assert found.status not in {0, None}


def test_what_is_written_in_all_is_bounded(tmp_path: Path) -> None:
    code = (
        "import os, time\nfor n in range(40):\n"
        "    with open(str(n), 'wb') as f:\n        f.write(os.urandom(4 << 20))\n"
        "        f.flush()\n    time.sleep(0.05)\ntime.sleep(60)\n"
    )
    found = python(code, tmp_path, Limits(60, disk_mb=20))
    assert found.status not in {0, None}
    assert "wrote too much" in found.errors
    assert sum(os.stat(path).st_size for path in tmp_path.iterdir()) < 160 << 20


def test_one_file_is_bounded_and_statuses_come_through(tmp_path: Path) -> None:
    assert python("open('x', 'wb').write(bytes(8 << 20))", tmp_path, Limits(20, file_mb=1)).status not in {0, None}
    assert (tmp_path / "x").stat().st_size <= 1 << 20
    assert python("print(input())", tmp_path, Limits(20)).status == 1
    assert execute.run(["cat"], tmp_path, Limits(20), "given").output == "given"
    assert execute.run(["no-such-program"], tmp_path, Limits(20)).status == 127
