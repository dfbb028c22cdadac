"""Neovim and the language server for the editor tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from editors.neovim import Start


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
