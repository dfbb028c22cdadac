"""The whole line: a repository goes in, an adapter comes out, and editors and HTTP give the same suggestion."""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest
from editors.neovim import Start
from support.editor import editor

from starling_server.client import Client
from starling_server.schema import CompleteRequest

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
QUESTION = "    if not _NAME.fullmatch(name) or name == BARE:\n        raise Adapter"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's adapters live."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository of real code: a copy of the server's."""
    project = tmp_path_factory.mktemp("work") / "project"
    shutil.copytree(REPOSITORY / "server" / "starling_server", project / "pkg", ignore=shutil.ignore_patterns("tiny"))
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    subprocess.run(["git", "-C", str(project), "add", "."], check=True)
    return project


@pytest.fixture(scope="module")
def trained(home: Path, project: Path) -> Path:
    """The adapter of a few steps on `project`, under its default name."""
    command = [sys.executable, "-m", "starling_training", str(project), "--base", "tiny", "--max-steps", "4"]
    environment = {**os.environ, "STARLING_DATA_DIR": str(home)}
    small = ("--context-tokens", "256", "--max-tokens", "32", "--evaluations", "1", "--holes", "2")
    subprocess.run([*command, *small], check=True, env=environment)
    return home / "adapters" / "project"


@pytest.fixture
def own_data_dir(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder that the adapter was trained into."""
    monkeypatch.setenv("STARLING_DATA_DIR", str(home))


@pytest.fixture(scope="module")
def address(home: Path, trained: Path) -> Generator[str]:
    """A serve-copilot that finds the adapter's base by the adapter."""
    command = [sys.executable, "-m", "starling_server", "--adapter", "project", "--port", "0"]
    environment = {**os.environ, "STARLING_DATA_DIR": str(home)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        yield server.stdout.readline().removeprefix("Listening on ").strip()
        server.terminate()


def test_training_leaves_an_adapter_and_a_report(trained: Path) -> None:
    names = {file.name for file in trained.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "manifest.json", "report.md"} <= names
    assert not [path for path in trained.parent.iterdir() if path.name.startswith(".")]


async def test_http_and_the_language_server_agree(address: str, project: Path) -> None:
    file = project / "pkg" / "more.py"
    async with Client(address) as client:
        health = await client.ready()
        over_http = await client.complete(CompleteRequest(prefix=QUESTION, suffix="\n"))
        bare = await client.complete(CompleteRequest(prefix=QUESTION, suffix="\n", adapter="base"))
    assert (health.base, health.adapters, over_http.adapter, bare.adapter) == ("tiny", ["project"], "project", None)
    async with editor([sys.executable, "-m", "starling_lsp"], root=project) as talking:
        status = await talking.status("ready", "error")
        assert (status["base"], status["adapter"]) == ("tiny", "project"), "the workspace's own adapter"
        talking.open(file.as_uri(), QUESTION + "\n")
        items = await talking.ask(file.as_uri(), (1, len(QUESTION.split("\n")[1])))
    assert over_http.choices[0].text
    assert [item.insert_text for item in items] == [over_http.choices[0].text]


def test_neovim_shows_and_accepts_what_http_suggests(
    nvim_binary: str, address: str, project: Path, tmp_path: Path
) -> None:
    """Neovim in the project, the model with the project's adapter in the language server: ghost text, Tab, done."""
    file = project / "pkg" / "typed.py"
    file.write_text(QUESTION[:-2] + "\n")
    starter = Start(nvim_binary, tmp_path)
    with starter.ends:
        neovim = starter([sys.executable, "-m", "starling_lsp"])
        neovim.nvim.command(f"cd {project}")
        neovim.open(file)
        neovim.wait_for_status("ready")
        neovim.keys("GA" + QUESTION[-2:])
        ghost = neovim.expect_ghost(seconds=60)
        promised = ghost.over(neovim.lines)
        neovim.keys("<Tab>")
        neovim.expect_lines(*promised)
    body = {"prefix": QUESTION, "suffix": "\n"}
    answer = httpx2.post(address + "/complete", json=body, timeout=60, trust_env=False).json()
    assert ghost.text == answer["choices"][0]["text"]
    assert answer["adapter"] == "project"
