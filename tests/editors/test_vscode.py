"""Ghost text of the real language server in a real VS Code, by keys and by what is on the screen."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("playwright", reason="pip install playwright")
from editors.vscode import Code, Host, wait_until
from playwright.sync_api import Playwright, sync_playwright
from support.serving import ALICE, protected
from support.shared import servers

HERE = Path(__file__).parent
VSIX = HERE.parents[1] / "editor-configs" / "vscode" / "starling.vsix"
HEAD = """class Settings:
    def __init__(self, host, port, user, token):
        self.host = host
        self.port = port
        self.user = user
"""
LINE = "        self.token"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def host() -> Host:
    """VS Code as `install_vscode.sh` put it, and the extension as `make vsix` packaged it."""
    found = subprocess.run([HERE / "install_vscode.sh", "--find"], capture_output=True, text=True, check=False)
    problem = found.stderr if found.returncode else "" if VSIX.exists() else f"{VSIX} is missing: make vsix"
    if problem and os.environ.get("STARLING_REQUIRE_EDITORS") == "1":
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)
    return Host(Path(found.stdout.splitlines()[-1]), VSIX)


SETTINGS: dict[str, Any] = {
    "starling.serverPath": str(Path(sys.executable).with_name("starling-lsp")),
    "starling.base": "tiny",
    "starling.enable": {"*": True, "markdown": False},
}


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The one driver of browsers that a thread may have."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def code(host: Host, playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Code]:
    """One window for all tests, since VS Code and the model take seconds to start."""
    code = Code(host, playwright, tmp_path_factory.mktemp("vscode"), SETTINGS)
    with code.ends:
        code.wait_for_status("is ready")
        yield code


def suggested(code: Code, name: str, typed: str = " =", line: str = LINE) -> str:
    """Type at the end of a new file until there is ghost text."""
    code.open(name, HEAD + line)
    code.page.keyboard.type(typed, delay=40)
    return code.wait_for_ghost(typed[-1])


def test_tab_inserts_exactly_the_ghost_text(code: Code) -> None:
    ghost = suggested(code, "tab.py")
    code.page.keyboard.press("Tab")
    wait_until(lambda: not code.ghost.startswith(ghost), "Tab left the ghost text where it was")
    assert code.save("tab.py").startswith(HEAD + LINE + " =" + ghost)


def test_the_next_word_is_taken_and_the_rest_stays(code: Code) -> None:
    ghost = suggested(code, "word.py")
    code.page.keyboard.press("Control+ArrowRight")
    wait_until(lambda: code.ghost != ghost, "nothing was taken")
    rest = code.ghost
    taken = code.save("word.py").removeprefix(HEAD + LINE + " =")
    assert taken
    assert ghost == taken + rest


def test_a_person_who_asks_can_go_through_several(code: Code) -> None:
    suggested(code, "several.py", ".", "        if self")  # where the base is less sure than behind `=`
    code.page.keyboard.press("Alt+\\")  # Suggest Here
    seen = {code.ghost}

    def another() -> bool:
        code.page.keyboard.press("Alt+]")
        time.sleep(0.3)
        seen.add(code.ghost)
        return len(seen - {""}) >= 3

    wait_until(another, f"never three suggestions, only {seen}")


def test_a_language_that_is_off_gets_nothing(code: Code) -> None:
    code.open("notes.md", HEAD + LINE)
    code.page.keyboard.type(" =", delay=40)
    time.sleep(2)
    assert not code.ghost
    assert suggested(code, "on.py")  # the same text elsewhere


def test_suggestions_are_turned_off_and_on(code: Code) -> None:
    code.command("Starling: Turn Suggestions On or Off")
    code.wait_for_status("is turned off")
    code.open("off.py", HEAD + LINE)
    code.page.keyboard.type(" =", delay=40)
    time.sleep(2)
    assert not code.ghost
    code.command("Starling: Turn Suggestions On or Off")
    code.wait_for_status("is ready")
    assert suggested(code, "on_again.py")


def test_a_server_that_is_killed_comes_back(code: Code) -> None:
    suggested(code, "before.py")
    killed = _servers()
    for process in killed:
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: bool(set(_servers()) - set(killed)), "no new language server")
    code.wait_for_status("is ready")
    assert suggested(code, "after.py")


def test_restarts_on_top_of_each_other_leave_one_server(code: Code) -> None:
    before = _servers()
    for _ in range(2):
        code.command("Starling: Restart the Language Server")
    wait_until(lambda: len(_servers()) == len(before) and not set(_servers()) & set(before), "not one new server")
    code.wait_for_status("is ready")
    assert suggested(code, "restarted.py")


def test_the_model_of_all_windows_comes_back(code: Code) -> None:
    suggested(code, "shared.py")
    [server] = servers(code.state)
    server.send_signal(signal.SIGKILL)
    assert suggested(code, "again.py")
    assert servers(code.state) != [server]


def test_a_program_that_is_missing_is_named_until_it_is_there(
    host: Host, playwright: Playwright, tmp_path: Path
) -> None:
    program = tmp_path / "starling-lsp"
    code = Code(host, playwright, tmp_path / "home", {**SETTINGS, "starling.serverPath": str(program)})
    with code.ends:
        code.wait_for_status(f"{program} did not start")
        program.symlink_to(SETTINGS["starling.serverPath"])
        code.command("Starling: Restart the Language Server")
        code.wait_for_status("is ready")
        assert suggested(code, "found.py")


def test_a_token_is_asked_for_and_kept(host: Host, playwright: Playwright, tmp_path: Path) -> None:
    with protected(tmp_path) as served:
        code = Code(host, playwright, tmp_path / "home", {**SETTINGS, "starling.serverUrl": served.url})
        with code.ends:
            code.wait_for_status("token")
            code.command("Starling: Set the Server's Token")
            code.page.locator(".quick-input-widget input").first.fill(ALICE)
            code.page.keyboard.press("Enter")
            code.wait_for_status("is ready")
            assert suggested(code, "with_a_token.py")
            kept = [path for path in code.folder.parent.rglob("*.json") if ALICE in path.read_text(errors="replace")]
            assert not kept, "in no settings file"


def test_a_restricted_workspace_starts_no_program_of_its_own(
    host: Host, playwright: Playwright, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    planted = tmp_path / "work" / ".venv" / "bin" / "starling-lsp"
    planted.parent.mkdir(parents=True)
    planted.write_text(f"#!/bin/sh\ntouch '{started}'\n", encoding="utf-8")
    planted.chmod(0o755)
    own = tmp_path / "work" / ".vscode" / "settings.json"
    own.parent.mkdir()
    own.write_text(json.dumps({"starling.serverPath": str(planted), "starling.base": "nowhere"}), encoding="utf-8")
    code = Code(host, playwright, tmp_path, SETTINGS, trusted=False)
    with code.ends:
        assert code.page.get_by_label("Restricted Mode").count()
        code.wait_for_status("is ready")
        assert suggested(code, "restricted.py")
    assert not started.exists()


def _servers() -> list[psutil.Process]:
    """Language servers below this process."""
    return [each for each in psutil.Process().children(recursive=True) if "starling-lsp" in " ".join(_line(each))]


def _line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
