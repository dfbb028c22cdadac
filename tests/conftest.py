"""What every test may use: the bundled base, loaded once, and a place of its own for adapters."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# What lies on this machine's disk never changes what `--base auto` means in a test.
os.environ.update(dict.fromkeys(("HF_HOME", "LLAMA_CACHE", "OLLAMA_MODELS"), f"{tempfile.gettempdir()}/no-models"))
os.environ.pop("HF_HUB_CACHE", None)
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the commands do

from support.forks import forks

from starling_server.backends.torch import loading
from starling_server.backends.torch.loading import Loaded
from starling_server.config import ModelConfig

REPOSITORY = Path(__file__).parents[1]
INSTALL_NEOVIM = REPOSITORY / "tests" / "editors" / "install_neovim.sh"


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's adapters and cached sources are seen or touched."""
    own = tmp_path_factory.mktemp("own")
    monkeypatch.setenv("STARLING_DATA_DIR", str(own / "data"))
    monkeypatch.setenv("STARLING_CACHE_DIR", str(own / "cache"))
    monkeypatch.setenv("STARLING_STATE_DIR", str(own / "state"))


@pytest.fixture(scope="session", autouse=True)
def started_as_forks() -> Generator[None]:
    """Programs of ours start as forks, without seconds of imports each."""
    with forks():
        yield


@pytest.fixture(scope="session")
def tiny() -> Loaded:
    """The bundled base as it is served."""
    return loading.load(ModelConfig(base="tiny"))


@pytest.fixture(scope="session")
def exact() -> Loaded:
    """The bundled base in float32: sums are then equal enough in any order for greedy choices to agree."""
    return loading.load(ModelConfig(base="tiny", quantize="none", dtype="float32"))


@pytest.fixture(scope="session")
def source() -> str:
    """A real Python file of some 270 lines; kept here, since near ties between tokens depend on every character."""
    return (REPOSITORY / "tests" / "support" / "module.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of a real serve-copilot with the bundled base, whose answers do not depend on its cache.

    It reads other files, which the bundled base does not by default.
    """
    environment = {**os.environ, "STARLING_DATA_DIR": str(tmp_path_factory.mktemp("served"))}
    own = ("--base", "tiny", "--quantize", "none", "--dtype", "float32", "--port", "0", "--deadline-ms", "60000")
    own += ("--repository-tokens", "512")
    command = [sys.executable, "-m", "starling_server", *own]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("Listening on "), said
        yield said.removeprefix("Listening on ").strip()
        process.terminate()


@pytest.fixture(scope="session")
def nvim_binary() -> str:
    """Path of Neovim 0.12 or later, as `install_neovim.sh` finds or once put it."""
    found = subprocess.run([INSTALL_NEOVIM, "--find"], capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return found.stdout.splitlines()[-1]
    if os.environ.get("STARLING_REQUIRE_EDITORS") == "1":
        pytest.fail(found.stderr)
    pytest.skip(found.stderr)
