"""The real `eval-copilot`, as a process, over the bundled base, a real server, and servers in others' shapes."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from support import adapter as random_adapter

from starling_server.client import Client
from starling_server.listen import listen
from starling_server.models import bases
from starling_server.schema import CompleteRequest

WORDS = ("ledger", "invoice", "payment", "refund", "parcel", "vendor")
MODULE = '''"""The {0}."""


def {0}_total(entries):
    """The sum of all {0} entries."""
    total = 0
    for entry in entries:
        total += entry.amount * entry.rate
    return total


class {1}:
    """One {0}."""

    def __init__(self, number, owner):
        self.number = number
        self.owner = owner

    def describe_{0}(self):
        return f"{0} {{self.number}} of {{self.owner}}"
'''
SECRET = "c0rrect-h0rse-77-b4ttery"
PAIR = "from calc import double, triple\nassert double(4) == 8\nassert triple(2) == 6\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "project"
    folder.mkdir()
    for word in WORDS:
        many = "".join(f"\n\ndef {word}_{other}(self):\n    return self.{other}\n" for other in WORDS)
        (folder / f"{word}.py").write_text(MODULE.format(word, word.title()) + many)
    return folder


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of noise: a judgement must say that it is worse."""
    return random_adapter.write(tmp_path_factory.mktemp("adapter") / "noise", bases.find("tiny"))


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "starling_training.evaluation", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def done(*arguments: str | Path) -> str:
    found = run(*arguments)
    assert found.returncode == 0, found.stderr
    return " ".join(found.stdout.split())


@pytest.mark.slow
def test_a_worse_adapter_is_called_worse_and_a_second_run_differs_by_nothing(
    project: Path, worse: Path, tmp_path: Path
) -> None:
    first, second, page = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "report.html"
    holes = tmp_path / "holes.jsonl"
    asked = (project, "--adapter", worse, "--base", "tiny")
    said = done(*asked, "--holes", "8", "--save-holes", holes, "--json", first, "--report", page)
    assert "noise is worse than base here: middle loss" in said
    assert "pass@1" not in said
    text = page.read_text()
    assert 'class="verdict worse"' in text
    assert text.count("<svg") >= 3
    assert "http" not in text
    done(*asked, "--holes-file", holes, "--json", second)
    said = done("compare", first, second, "--json", tmp_path / "c.json")
    assert "Whether noise (second) is better than noise (first) here is not sure" in said
    for trial in json.loads((tmp_path / "c.json").read_text())["trials"]:
        base, other = trial["base"], trial["adapter"]
        assert all(base[name] == other[name] for name in ("text", "nats", "tokens", "valid", "stopped"))


@pytest.mark.slow
def test_servers_are_asked_as_the_process_itself_is(project: Path, served: str, others: str, tmp_path: Path) -> None:
    holes, here = tmp_path / "holes.jsonl", tmp_path / "here.json"
    exact = ("--base", "tiny", "--quantize", "none", "--dtype", "float32")
    done(project, *exact, "--holes", "4", "--save-holes", holes, "--json", here)
    for engine in (served, f"openai:{others}/v1", f"infill:{others}"):
        there = tmp_path / "there.json"
        said = done(project, "--engine", engine, "--holes-file", holes, "--json", there)
        assert "exact match" in said
        texts = [[trial["base"]["text"] for trial in json.loads(path.read_text())["trials"]] for path in (here, there)]
        assert texts[0] == texts[1]
    done("compare", here, tmp_path / "there.json")


@pytest.fixture(scope="module")
def others(served: str) -> Generator[str]:
    """A server in the OpenAI and llama.cpp shapes whose model is the bundled one."""
    app = FastAPI()

    async def complete(prefix: str, suffix: str) -> str:
        async with Client(served) as client:
            return (await client.complete(CompleteRequest(prefix=prefix, suffix=suffix))).choices[0].text

    async def completions(body: dict[str, Any]) -> dict[str, Any]:
        text = await complete(body["prompt"], body["suffix"])
        return {"choices": [{"text": text, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}

    async def infill(body: dict[str, Any]) -> dict[str, Any]:
        text = await complete(body["input_prefix"] + body["prompt"], body["input_suffix"])
        return {"content": text, "stop_type": "eos", "timings": {"prompt_n": 5, "cache_n": 4}}

    app.post("/v1/completions")(completions)
    app.post("/infill")(infill)
    app.get("/v1/models")(lambda: {"data": [{"id": "tiny"}]})
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.slow
def test_a_history_is_asked_and_typed(project: Path, tmp_path: Path) -> None:
    repository = tmp_path / "checkout"
    repository.mkdir()
    own = ("git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@b.example")
    subprocess.run([*own, "init", "-q"], check=True)
    for word in WORDS[:3]:
        (repository / f"{word}.py").write_bytes((project / f"{word}.py").read_bytes())
        subprocess.run([*own, "add", "."], check=True)
        subprocess.run([*own, "commit", "-qm", word], check=True)
    assert "2 hunks in 2 commits" in done("history", repository, "--base", "tiny")
    kept = tmp_path / "typed.json"
    said = done("history", repository, "--base", "tiny", "--keystrokes", "--characters", "40", "--json", kept)
    assert "characters saved" in said
    for text in json.loads(kept.read_text())["typed"]:
        keys = text["base"]
        assert keys["pressed"] <= len(text["text"]) == 40
        assert keys["characters"] >= keys["accepted"]
        assert keys["wrong"] <= keys["shown"]


@pytest.mark.slow
def test_a_project_s_own_tests_judge(tmp_path: Path) -> None:
    project = tmp_path / "calculator"
    project.mkdir()
    (project / "calc.py").write_text("def double(a):\n    return a + a\n\n\ndef triple(a):\n    return a + a + a\n")
    (project / "test_calc.py").write_text(PAIR)
    with (project / "calc.py").open("a") as calc:
        calc.write(f'\n\nPASSWORD = "{SECRET}"\n')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(project / "a.sock"))
    command = f"{sys.executable} test_calc.py"
    kept = tmp_path / "kept.json"
    said = done("tests", project, "--command", command, "--base", "tiny", "--holes", "3", "--json", kept)
    assert "3 holes that the tests notice" in said
    assert "pass@1" in said
    trials = json.loads(kept.read_text())["trials"]
    assert SECRET not in kept.read_text()
    assert all(trial["base"]["passed"] == [True] for trial in trials if trial["base"]["text"] == trial["truth"])
    assert (project / "calc.py").read_text().count("return") == 2, "the project itself is not touched"
    refused(run("tests", project, "--command", "false", "--base", "tiny"), "does not pass")


@pytest.mark.slow
def test_ctrl_c_judges_what_was_asked_until_then(project: Path, worse: Path, tmp_path: Path) -> None:
    holes, kept = tmp_path / "holes.jsonl", tmp_path / "kept.json"
    flags = ("--adapter", worse, "--base", "tiny", "--holes", "5000", "--save-holes", holes, "--json", kept)
    asked = [sys.executable, "-m", "starling_training.evaluation", *map(str, (project, *flags))]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not holes.exists():
            assert running.poll() is None
            time.sleep(0.1)
        time.sleep(2)  # the last thing before it loads and asks
        running.send_signal(signal.SIGINT)
        said, complaint = running.communicate(timeout=300)
    assert running.returncode == 0, complaint
    assert "Stopped: what follows is about what was asked until then." in said
    assert 0 < len(json.loads(kept.read_text())["trials"]) < 5000


def refused(found: "subprocess.CompletedProcess[str]", words: str) -> None:
    assert found.returncode == 2, found.stderr
    assert found.stderr.count("\n") == 1, found.stderr
    assert words in found.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/nowhere", "--base", "tiny"), "does not exist"),
        ((".", "--engine", "nobody"), "--engine nobody is not an engine"),
        ((".", "--fim-prompt", "x"), "must hold {prefix} and {suffix}"),
        (("compare", "/nowhere/a", "/nowhere/b"), "cannot be read"),
        (("benchmark", "safim", "x", "--samples", "2"), "set a --temperature"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    refused(run(*arguments), words)
