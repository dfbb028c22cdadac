"""Neovim and the language server for the editor tests."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from editors.neovim import Start
from editors.scripted import SCRIPT, Begin, Session


@pytest.fixture
def start(nvim_binary: str, tmp_path: Path) -> Iterator[Start]:
    """Starts Neovim with a home of its own."""
    starter = Start(nvim_binary, tmp_path)
    with starter.ends:
        yield starter


@pytest.fixture(scope="module")
def start_once(nvim_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """The same, for an editor that serves a whole module."""
    starter = Start(nvim_binary, tmp_path_factory.mktemp("nvim"))
    with starter.ends:
        yield starter


@pytest.fixture(scope="session")
def starling_lsp_command() -> list[str]:
    """The real language server, run by this Python over stdio; `--base tiny` or `--server URL` is to follow."""
    return [sys.executable, "-m", "starling_lsp"]


@pytest.fixture
def begin(start: Start, tmp_path: Path) -> Begin:
    """Opens a file with `text` in Neovim on the scripted server, or on `command` in its place."""

    def begin(
        text: str = "",
        script: Mapping[str, str] = SCRIPT,
        lua: str = "",
        command: Sequence[str] = (),
        **options: Any,
    ) -> Session:
        plan, log, file = tmp_path / "script.json", tmp_path / "server.jsonl", tmp_path / "work.py"
        plan.write_text(json.dumps(script), encoding="utf-8")
        log.touch()
        file.write_bytes(text.encode())
        scripted = [sys.executable, str(Path(__file__).with_name("scripted_lsp.py")), str(plan), str(log)]
        editor = start(command or scripted, lua, **options)
        if command:
            editor.nvim.command(f"edit {file}")
        else:
            editor.open(file)
        return Session(editor, file, log)

    return begin
