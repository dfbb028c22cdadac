"""The real upload, as a process, to a Hub of our own: what leaves, what stays, who is asked."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from support import finished
from support.hub import TOKEN, Hub, hub

from starling_server.models import adapters, manifest
from starling_server.models.adapters import WEIGHTS
from starling_server.models.manifest import BaseRecord

SENT = ["README.md", "adapter_config.json", "adapter_model.safetensors", "manifest.json"]


@pytest.fixture
def server() -> Generator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return finished.adapter(tmp_path / "adapters" / "api")


def environment(address: str, tmp_path: Path, token: str = TOKEN) -> dict[str, str]:
    """Nobody's token, a Hub at `address`, and large files by HTTP, since the other way is the Hub's own service."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    return own | {
        "HF_ENDPOINT": address,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        **({"HF_TOKEN": token} if token else {}),
    }


def push(environment: dict[str, str], *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "starling_training.publish.push", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def refused(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    assert done.returncode == 2, done.stderr
    said = done.stderr.strip().splitlines()
    assert len(said) == 1, done.stderr
    assert words in said[0]
    assert said[0].endswith(".")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_leaves_is_shown_and_holds_nothing_private(server: Hub, folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    done = push(environment(server.address, tmp_path), folder, "ada/api", "--yes")
    assert done.returncode == 0, done.stderr
    assert server.visibility == {"ada/api": "private"}
    sent = server.files["ada/api"]
    assert sorted(sent) == SENT
    assert sent[WEIGHTS] == before[WEIGHTS]
    assert sent["README.md"] == before["README.md"]
    assert all(name in done.stdout for name in SENT)
    assert "a private repository" in done.stdout
    assert f"{server.address}/ada/api" in done.stdout
    for word in (*finished.PRIVATE, str(tmp_path)):
        assert not any(word.encode() in body for body in (*server.bodies, *sent.values())), word
    assert contents(folder) == before


def test_what_left_is_an_adapter_again(server: Hub, folder: Path, tmp_path: Path) -> None:
    assert push(environment(server.address, tmp_path), folder, "ada/api", "--yes").returncode == 0
    there = tmp_path / "there"
    there.mkdir()
    for name, content in server.files["ada/api"].items():
        (there / name).write_bytes(content)
    own, public = manifest.read(folder), adapters.load(there).manifest
    assert public.workspace is None
    assert (public.base, public.fim, public.name) == (own.base, own.fim, own.name)
    assert public.data["sources"] == ["api", "rows"]
    assert public.results == own.results
    assert public.training["rank"] == 16
    assert "settings" not in public.training
    assert "held_out" not in public.data


def test_a_base_on_this_disk_loses_its_folder(server: Hub, tmp_path: Path) -> None:
    local = BaseRecord(id=f"{finished.PRIVATE[0]}/models/mine", fingerprint="0", model_type="gpt_bigcode")
    folder = finished.adapter(tmp_path / "local", local)
    assert push(environment(server.address, tmp_path), folder, "ada/api", "--yes").returncode == 0
    sent = server.files["ada/api"]
    assert json.loads(sent["manifest.json"])["base"]["id"] == "mine"
    assert json.loads(sent["adapter_config.json"])["base_model_name_or_path"] == "mine"
    assert not any(finished.PRIVATE[0].encode() in content for content in sent.values())


def test_reports_leave_when_they_are_asked_for(server: Hub, folder: Path, tmp_path: Path) -> None:
    done = push(environment(server.address, tmp_path), folder, "ada/api", "--yes", "--reports", "--public")
    assert done.returncode == 0, done.stderr
    assert server.visibility == {"ada/api": "public"}
    assert "a PUBLIC repository" in done.stdout
    assert sorted(server.files["ada/api"]) == sorted([*SENT, "report.html", "report.md"])


def test_a_public_repository_is_not_written_to_unless_it_is_meant(server: Hub, folder: Path, tmp_path: Path) -> None:
    server.visibility["ada/api"] = "public"
    refused(push(environment(server.address, tmp_path), folder, "ada/api", "--yes"), "is public already")
    assert server.files == {}
    assert push(environment(server.address, tmp_path), folder, "ada/api", "--yes", "--public").returncode == 0
    assert sorted(server.files["ada/api"]) == SENT


def answered(answer: bytes, folder: Path, environment: dict[str, str]) -> str:
    """What is shown at a terminal where `answer` is typed; the command must end well."""
    command = [sys.executable, "-m", "starling_training.publish.push", str(folder), "ada/api"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, answer)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other side is closed
                break
        assert process.wait(60) == 0, shown
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize("answer", [b"\n", b"n\n"])
def test_nothing_leaves_without_a_yes(answer: bytes, server: Hub, folder: Path, tmp_path: Path) -> None:
    shown = answered(answer, folder, environment(server.address, tmp_path))
    assert "[y/N]" in shown
    assert "Nothing was uploaded." in shown
    assert server.bodies == []


def test_a_yes_at_the_terminal_is_enough(server: Hub, folder: Path, tmp_path: Path) -> None:
    assert "Uploaded to " in answered(b"y\n", folder, environment(server.address, tmp_path))
    assert sorted(server.files["ada/api"]) == SENT


def test_failures_are_one_sentence_and_leave_the_adapter_whole(server: Hub, folder: Path, tmp_path: Path) -> None:
    before = contents(folder)
    here = environment(server.address, tmp_path)
    refused(push(here, folder, "ada/api"), "add --yes")
    refused(push(here, folder, "api", "--yes"), "is not a repository name")
    refused(push(here, folder, "forbidden/api", "--yes"), "the Hub answered 403")
    refused(push(here, tmp_path / "missing", "ada/api", "--yes"), "There is no adapter")
    refused(push({**here, "HF_TOKEN": "hf_wrong"}, folder, "ada/api", "--yes"), "the Hub answered 401")
    refused(push({**here, "HF_HUB_OFFLINE": "1"}, folder, "ada/api", "--yes"), "HF_HUB_OFFLINE")
    refused(push(environment(server.address, tmp_path, token=""), folder, "ada/api", "--yes"), "hf auth login")
    nowhere = environment("http://127.0.0.1:9", tmp_path)
    refused(push(nowhere, folder, "ada/api", "--yes"), f"the adapter is whole in {folder}")
    assert server.files == {}
    assert contents(folder) == before


@pytest.mark.parametrize(("more", "words"), [((), "add --yes"), (("--method", "full", "--yes"), "not whole models")])
def test_training_says_at_once_what_will_not_work_at_its_end(more: tuple[str], words: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    done = subprocess.run(
        [sys.executable, "-m", "starling_training", missing, "--push-to-hub", "ada/api", *more],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env=environment("http://127.0.0.1:9", tmp_path),
    )  # fmt: skip
    refused(done, words)
    assert done.stdout == "", "nothing was read or shown before"


@pytest.mark.slow
def test_training_pushes_what_it_has_made(server: Hub, tmp_path: Path) -> None:
    source, output = Path(__file__).parents[3] / "lsp" / "starling_lsp", tmp_path / "out" / "lsp"
    small = ("--base", "tiny", "--context-tokens", "192", "--max-tokens", "32", "--holes", "2", "--max-steps", "2")
    done = subprocess.run(
        [sys.executable, "-m", "starling_training", str(source), "--output", str(output), *small,
         "--evaluations", "1", "--push-to-hub", "ada/lsp", "--yes"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=300,
        env=environment(server.address, tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sent = server.files["ada/lsp"]
    assert sorted(sent) == SENT
    assert sent[WEIGHTS] == (output / WEIGHTS).read_bytes()
    held_out = json.loads((output / "manifest.json").read_text())["data"]["held_out"]
    assert held_out
    for word in (*held_out, str(source), str(tmp_path)):
        assert not any(word.encode() in content for content in sent.values()), word
