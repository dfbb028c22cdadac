"""The real `train-copilot`, as a process."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.models import adapters
from starling_server.models.bases import TINY_DIR
from starling_training.fit import checkpoint

SMALL = ("--base", "tiny", "--context-tokens", "128", "--max-tokens", "24", "--holes", "4", "--accumulation", "2")
SHORT = (*SMALL, "--max-steps", "12", "--evaluations", "1", "--learning-rate", "0.003")

PAPERS = [
    "README.md", "adapter_config.json", "adapter_model.safetensors", "corpus.json", "manifest.json", "report.html",
    "report.md",
]  # fmt: skip

CLASS = '''class {name}Gateway(RemoteGateway):
    """Talks to the {low} ledger."""

    ledger_name = "{low}"

    def fetch_ledger_entry(self, ledger_key):
        envelope = self.open_envelope(ledger_key, ledger=self.ledger_name)
        return envelope.unseal_with(self.ledger_signature)

    def store_ledger_entry(self, ledger_key, entry):
        envelope = self.seal_envelope(entry, ledger=self.ledger_name)
        return self.post_envelope(ledger_key, envelope)
'''
NAMES = ("Invoice", "Payment", "Refund", "Order", "Stock", "Parcel", "Client", "Vendor", "Salary", "Budget", "Asset")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small code base with habits of its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name.lower()}.py").write_text(CLASS.format(name=name, low=name.lower()) + own_methods(name))
    return folder


def own_methods(name: str) -> str:
    """What tells one gateway from the others: without it they were near duplicates, and dropped."""
    words = [other.lower() for other in NAMES if other != name]
    method = "\n    def {0}_{1}(self, {0}):\n        return self.fetch_ledger_entry({0}.{1}_id)\n"
    return "".join(method.format(word, name.lower()) for word in words[:6])


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "starling_training", *map(str, arguments)]


def run(*arguments: str | Path, preexec: Callable[[], None] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=300, check=False, preexec_fn=preexec
    )


def refused(done: "subprocess.CompletedProcess[str]", words: str) -> None:
    """It ended with status 2 and one sentence that holds `words`."""
    assert done.returncode == 2, done.stderr
    message = done.stderr.strip().splitlines()
    assert len(message) == 1, done.stderr
    assert message[0].startswith("train-copilot: ")
    assert message[0].endswith(".")
    assert words in message[0]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.slow
def test_training_ends_with_an_adapter_that_helps_and_loads(project: Path, tmp_path: Path, tiny: Loaded) -> None:
    output = tmp_path / "out" / "ledger"
    done = run(project, "--output", output, *SHORT)
    assert done.returncode == 0, done.stderr
    assert left(tmp_path / "out") == ["ledger"]
    assert left(output) == PAPERS
    manifest = adapters.load(output).manifest
    assert manifest.workspace == str(project)
    assert manifest.fim.context_tokens == 128
    curve = manifest.training["curve"]
    assert curve[-1]["held_out"] < curve[0]["held_out"] - 0.3
    assert manifest.results["middle loss"]["difference"] < 0
    assert manifest.results["holes"] == 4
    assert str(tmp_path) not in (output / "adapter_config.json").read_text()
    assert any(tensor.abs().sum() > 0 for name, tensor in load_file(output / adapters.WEIGHTS).items() if "_B" in name)
    runner = TorchRunner(tiny)
    runner.add_adapter("ledger", output)
    ids = tiny.tokenizer.encode("class TaxGateway(RemoteGateway):\n    ledger_name = ")
    assert sum(runner.score("ledger", ids, 1)) > sum(runner.score(None, ids, 1))
    page, card = (output / "report.html").read_text(), (output / "README.md").read_text()
    assert page.count("<svg") >= 4
    assert all(f"<td>{name}</td>" in page for name in ("rank", "torch", "Python"))
    assert "serve-copilot --base tiny --adapter ./ledger" in card
    assert str(tmp_path) not in card
    assert json.loads((output / "corpus.json").read_text())["files"] == 11
    assert {name: group["holes"] for name, group in manifest.results["by language"].items()} == {"Python": 4}
    report = (output / "report.md").read_text()
    assert "middle loss" in report
    assert "what was there" in report
    refused(run(project, "--output", output, *SHORT), "--overwrite")


def test_a_dry_run_plans_and_writes_nothing(project: Path, tmp_path: Path) -> None:
    key = "AKIA" + "Z7XQ4T2WVB5NMK3P"
    (project / "gateway.py").write_text(f'ledger_key = "{key}"\n' + CLASS.format(name="Gate", low="gate"))
    done = run(project, "--dry-run", "--output", tmp_path / "out" / "a", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Plan: " in done.stdout
    assert "flag" in done.stdout
    assert "tokens (estimated" in " ".join(done.stdout.split())
    assert "gateway.py:1" in done.stdout
    assert "AKIA" not in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_a_plan_needs_none_of_the_model_libraries() -> None:
    code = (
        "import sys, starling_training.training_run; print({'bitsandbytes', 'peft', 'transformers'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_settings_come_from_the_environment(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARLING_RANK", "4")
    monkeypatch.setenv("COLUMNS", "200")
    done = run(project, "--dry-run", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "environment, STARLING_RANK" in done.stdout


def copied(base: Path) -> Path:
    return Path(shutil.copytree(TINY_DIR, base))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def without_config(base: Path) -> None:
    (copied(base) / "config.json").unlink()


def without_fim(base: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        file = (base if base.exists() else copied(base)) / name
        file.write_text(file.read_text().replace("<fim_middle>", "<other_thing>"))


def another_architecture(base: Path) -> None:
    edit(copied(base) / "config.json", lambda config: config.update(model_type="gpt_neox"))


def damaged_weights(base: Path) -> None:
    file = copied(base) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])


def random_weights(base: Path) -> None:
    file = copied(base) / "model.safetensors"
    weights = load_file(file)
    save_file({name: tensor.normal_(std=0.02) for name, tensor in weights.items()}, file, {"format": "pt"})


def lossy_tokenizer(base: Path) -> None:
    """It lower-cases what it reads."""
    edit(copied(base) / "tokenizer.json", lambda tokenizer: tokenizer.update(normalizer={"type": "Lowercase"}))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lossy_tokenizer, "is not lossless"),
        (without_config, "has no config.json"),
        (without_fim, "no fill-in-the-middle tokens"),
        (another_architecture, "'gpt_neox'"),
        (damaged_weights, "cannot be read (has 90,072 bytes"),
        (random_weights, "untrained or damaged"),
    ],
)
def test_a_base_that_cannot_be_used(make: Callable[[Path], None], words: str, project: Path, tmp_path: Path) -> None:
    make(tmp_path / "base")
    refused(run(project, "--output", tmp_path / "out" / "a", *SHORT, "--base", tmp_path / "base"), words)
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing",), "does not exist"),
        (("empty",), "no usable source file"),
        (("project", "--output", "taken"), "--overwrite"),
        (("project", "--rank", "0"), "--rank"),
        (("project", "--name", "../a"), "cannot name an adapter"),
        (("project", "--base", "./missing"), "There is no base"),
    ],
)
def test_arguments_that_cannot_work(
    arguments: Sequence[str], words: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    refused(run(*arguments), words)
    assert left(tmp_path / "taken") == ["file"]
    assert left(adapters.home()) == []


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(project: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    refused(run(project, "--output", tmp_path / "out" / "a", *SHORT, preexec=small_files), "no room left")
    assert left(tmp_path / "out") == []


class Running:
    """A training that goes on until it is told to stop, its standard output read line by line."""

    def __init__(self, project: Path, output: Path) -> None:
        endless = ("--epochs", "1000", "--max-minutes", "60", "--evaluations", "1000")
        self.process = subprocess.Popen(
            command(project, "--output", output, *SMALL, *endless),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, words: str) -> None:
        """Read until a line begins with `words`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(words):
                return
        raise AssertionError(f"ended before {words!r}")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        self.process.communicate(timeout=120)
        return self.process.returncode


@pytest.mark.slow
def test_one_interrupt_keeps_the_best_adapter_so_far(project: Path, tmp_path: Path) -> None:
    running = Running(project, tmp_path / "out" / "a")
    running.wait_for("step 0")
    running.wait_for("step ")
    running.interrupt()
    assert running.end() == 0
    assert left(tmp_path / "out") == ["a"]
    manifest = adapters.load(tmp_path / "out" / "a").manifest
    assert manifest.training["ended"] == "interrupted"
    assert manifest.results == {}


@pytest.mark.slow
def test_an_interrupt_before_the_first_evaluation_leaves_nothing(project: Path, tmp_path: Path) -> None:
    running = Running(project, tmp_path / "out" / "a")
    running.wait_for("Plan: ")
    running.interrupt()
    assert running.end() == 130
    assert left(tmp_path / "out") == []


@pytest.mark.slow
def test_a_second_interrupt_leaves_nothing(project: Path, tmp_path: Path) -> None:
    running = Running(project, tmp_path / "out" / "a")
    running.wait_for("step 0")
    running.interrupt()
    running.interrupt()
    assert running.end() in (130, 0)
    assert left(tmp_path / "out") in ([], ["a"])


def curve(output: Path) -> list[dict[str, Any]]:
    return adapters.load(output).manifest.training["curve"]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(project: Path, tmp_path: Path) -> None:
    steps = ("--max-steps", "8", "--evaluations", "2", "--learning-rate", "0.003")
    flags = (*SMALL, "--holes", "0", *steps)
    whole, parts = tmp_path / "out" / "whole", tmp_path / "out" / "parts"
    assert run(project, "--output", whole, *flags).returncode == 0
    started = subprocess.Popen(command(project, "--output", parts, *flags), stdout=subprocess.DEVNULL)
    place = checkpoint.place(parts)
    while checkpoint.latest(place) is None:
        assert started.poll() is None
        time.sleep(0.05)
    started.kill()
    started.wait()
    assert left(tmp_path / "out") == [".parts.training", "whole"]
    refused(run(project, "--output", parts, *flags), "--resume")
    refused(run(project, "--output", parts, *flags, "--rank", "8", "--resume"), "rank differ")
    refused(run(project, "--output", tmp_path / "out" / "other", *flags, "--resume"), "train without --resume")
    done = run(project, "--output", parts, *flags, "--resume")
    assert done.returncode == 0, done.stderr
    assert left(tmp_path / "out") == ["parts", "whole"]
    losses = [[point["held_out"] for point in curve(output)] for output in (whole, parts)]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)


@pytest.mark.slow
def test_a_disk_that_fills_while_checkpointing_leaves_the_checkpoint_before(project: Path, tmp_path: Path) -> None:
    """Files may have 2 MB until the first checkpoint is whole, then 100 kB, as if the disk were full from then on."""
    flags = (*SMALL, "--holes", "0", "--max-steps", "6", "--evaluations", "3", "--learning-rate", "0.003")
    output = tmp_path / "out" / "a"
    started = subprocess.Popen(command(project, "--output", output, *flags), stderr=subprocess.PIPE, text=True)
    place = checkpoint.place(output)
    while checkpoint.latest(place) is None:
        assert started.poll() is None
        time.sleep(0.05)
    resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    _, said = started.communicate(timeout=300)
    assert started.returncode == 2
    assert "no room left" in said
    assert "Traceback" not in said
    assert checkpoint.latest(place) is not None
    assert left(tmp_path / "out") == [".a.training"]
    done = run(project, "--output", output, *flags, "--resume")
    assert done.returncode == 0, done.stderr
    assert curve(output)[-1]["step"] == 6


def test_other_files_are_learnt_recorded_and_judged(project: Path, tmp_path: Path) -> None:
    """The manifest has the budget; `eval-copilot` gives them to the adapter, to neither side with `--context off`."""
    output = tmp_path / "out" / "ledger"
    short = (*SMALL, "--max-steps", "2", "--evaluations", "1", "--canaries", "0")
    done = run(project, "--output", output, *short, "--context-tokens", "512", "--repository-tokens", "80")
    assert done.returncode == 0, done.stderr
    assert adapters.load(output).manifest.fim.repository_tokens == 80
    asked = [project, "--adapter", output, "--base", "tiny", "--holes", "4"]
    sizes = dict[str, list[tuple[int, int]]]()
    for context in ((), ("--context", "off"), ("--context", "bm25", "--repository-tokens", "80")):
        kept = tmp_path / "run.json"
        judging = [sys.executable, "-m", "starling_training.evaluation", *asked, "--json", kept, *context]
        judged = subprocess.run([*map(str, judging)], capture_output=True, text=True, timeout=300, check=False)
        assert judged.returncode == 0, judged.stderr
        found = json.loads(kept.read_text())
        sizes[found["settings"]["context"]] = [
            (trial["base"]["prompt_tokens"], trial["adapter"]["prompt_tokens"]) for trial in found["trials"]
        ]
    assert sizes.keys() == {"on", "off", "bm25"}
    assert all(base == adapter for base, adapter in (*sizes["off"], *sizes["bm25"]))
    assert any(adapter > base for base, adapter in sizes["on"]), "the bundled base has not learnt them"
    assert [base for base, _ in sizes["on"]] == [base for base, _ in sizes["off"]]
    assert sum(base for base, _ in sizes["bm25"]) > sum(base for base, _ in sizes["off"])
