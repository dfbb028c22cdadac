"""What a log may quote without being led by it, and what SIGHUP does."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.serving import ALICE, Server, serving, tokens

from starling_server import logs
from starling_server.errors import StarlingError

FORGED = "x\r\nERROR starling_server: all is lost\x1b[2J\x9b31m\u202e\u2028\u2066\x7f\x00\x85\ud800"
SHOWN = r"x\r\nERROR starling_server: all is lost\x1b[2J\x9b31m\u202e\u2028\u2066\x7f\x00\x85\ud800"
SAFE = "naïve Ωμέγα 日本語 😀 C:\\new\\table"


def lines(form: logs.LogFormat, act: Callable[[logging.Logger], None], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is logged meanwhile."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.set_up(form, verbose=True)
        act(logging.getLogger("starling_server.test"))
    finally:
        root.handlers[:], root.level = before[0], before[1]
    return capsys.readouterr().err.rstrip("\n").split("\n")


def test_a_message_is_one_line_in_which_everything_shows(capsys: pytest.CaptureFixture[str]) -> None:
    def act(log: logging.Logger) -> None:
        log.warning("tensor %s", FORGED)
        log.warning("%r %s", StarlingError(FORGED), SAFE)
        log.warning(f"adapter {FORGED}")

    first, second, third = lines("text", act, capsys)
    assert first == f"WARNING starling_server.test: tensor {SHOWN}"
    assert second.endswith(SAFE)
    assert third.endswith(SHOWN)


def test_json_is_as_safe_once_it_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    def act(log: logging.Logger) -> None:
        log.warning("tensor %s", FORGED, extra={"client": FORGED})

    (line,) = lines("json", act, capsys)
    found = json.loads(line)
    assert (found["message"], found["client"]) == (f"tensor {SHOWN}", SHOWN)
    assert line.isascii()


@pytest.mark.parametrize("form", logs.LOG_FORMATS)
def test_a_stack_cannot_pass_for_a_record(form: logs.LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    def act(log: logging.Logger) -> None:
        try:
            raise ValueError(FORGED)
        except ValueError as error:
            log.exception("failed")
            log.error("a request failed: %s", logs.what(error), extra=logs.where(error))

    found = lines(form, act, capsys)
    whole = "\n".join(found)
    assert not any(ord(character) < 32 and character != "\n" for character in whole)
    assert "test_logs.py" in whole
    if form == "json":
        assert len(found) == 2
    else:
        assert [line.split(":")[0] for line in found if not line.startswith(" ")] == ["ERROR starling_server.test"] * 2


def test_no_request_writes_a_line_of_its_own(target: Server) -> None:
    """By its path, a document's path and language, an adapter, a header, a tensor's name: each is told, on one line."""
    body: dict[str, Any] = {"prefix": "import o", "max_tokens": 1, "path": FORGED[:-1], "language": FORGED[:-1]}
    with target.client() as http:
        assert http.post("/complete", json=body, headers={"x-request-id": "a\x1bb"}).status_code == 200
        http.post("/complete", json={**body, "adapter": FORGED[:-1]})
        http.get("/x%0d%0aERROR%20starling_server:%20all%1b[2J")
        deadline = time.monotonic() + 20
        while SHOWN[:-6] not in target.log() and time.monotonic() < deadline:
            time.sleep(0.05)
    log = target.log()
    assert f"{SHOWN[:-6]} ({SHOWN[:-6]})" in log
    assert not any(line.startswith("ERROR starling_server: all") for line in log.splitlines())
    assert not set(log) & set("\r\x1b\x9b\u202e\u2028\x00")


def test_what_a_command_says_at_its_end_is_as_safe(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "starling_server", "--base", "tiny", "--adapter", "a\x1b[2J\u202e/b"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert r"\x1b[2J" in done.stderr


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_hangup_reads_tokens_again_where_there_is_no_terminal(tmp_path: Path) -> None:
    flags = ("--token-file", str(tokens(tmp_path)))
    with serving(tmp_path, *flags, command=begun("os.setsid()")) as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "SIGHUP" in server.log() and "reloaded " in server.log())
        with server.client(ALICE) as http:
            assert http.post("/complete", json={"prefix": "a", "max_tokens": 1}).status_code == 200
        server.process.terminate()
        assert server.process.wait(30) == 0


def test_hangup_is_ignored_under_nohup(tmp_path: Path) -> None:
    with serving(tmp_path, command=begun("signal.signal(signal.SIGHUP, signal.SIG_IGN)")) as server:
        server.process.send_signal(signal.SIGHUP)
        with server.client(None) as http:
            assert http.get("/ready").status_code == 200
        assert "SIGHUP" not in server.log()


def test_a_closed_terminal_ends_the_server_and_leaves_nothing(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    record = tmp_path / "running.json"
    takes = f"os.setsid(); os.close(os.open({os.ttyname(theirs)!r}, os.O_RDWR))"
    with serving(tmp_path, "--announce", str(record), command=begun(takes)) as server:
        os.close(theirs)
        assert record.exists()
        os.close(ours)  # as the window is closed
        assert server.process.wait(30) == 0
        assert not record.exists()


def begun(how: str) -> tuple[str, str]:
    """A serve-copilot whose process does that first."""
    return "-c", f"import os, signal; {how}; from starling_server.__main__ import main; main()"
