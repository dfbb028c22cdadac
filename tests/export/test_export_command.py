"""The real `train-copilot export`, as a process, and what it refuses."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from starling_server.backends.torch import loading
from starling_server.config import ModelConfig
from starling_server.models import bases
from starling_server.models.bases import TINY_DIR
from starling_server.models.manifest import MANIFEST
from starling_training.export import export_card, export_config, merge
from starling_training.export.export_config import Choice

WITHOUT_GGUF = "import sys; sys.modules['gguf'] = None; from starling_training.__main__ import main; main()"
MODEL = ["README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]


def export(*arguments: str | Path, preexec: Callable[[], None] | None = None, **environment: str) -> "Done":
    return run("-m", "starling_training", "export", *arguments, preexec=preexec, **environment)


def run(*arguments: str | Path, preexec: Callable[[], None] | None = None, **environment: str) -> "Done":
    command = [sys.executable, *map(str, arguments)]
    surroundings = {**os.environ, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, preexec_fn=preexec, env=surroundings
    )


Done = subprocess.CompletedProcess[str]


def refused(done: Done, words: str) -> None:
    """It ended with status 2 and one sentence that holds `words`."""
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("train-copilot export: ")
    assert words in done.stderr


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_auto_measures_both_merges_and_keeps_the_better(trained: Path, tmp_path: Path) -> None:
    """A merged model and its GGUF from one command; the model serves as a base like any other."""
    output = tmp_path / "merged"
    done = export(trained, "--merge", "--gguf", "--gguf-type", "q8_0", "--holes", "12", "--output", output)
    assert done.returncode == 0, done.stderr
    said = {line.split(": ")[0]: float(line.split(": ")[1].split()[0]) for line in done.stdout.splitlines()[:3]}
    losses = {name.rpartition(", ")[2]: value for name, value in said.items()}
    assert set(losses) == {export_config.OVER_FOUR_BITS, "merged onto bf16", "merged onto dequantised"}
    better = min(losses["merged onto bf16"], losses["merged onto dequantised"])
    assert (
        f"Merged onto {next(n for n in ('bf16', 'dequantised') if losses[f'merged onto {n}'] == better)}" in done.stdout
    )
    assert abs(losses["merged onto dequantised"] - losses[export_config.OVER_FOUR_BITS]) < 0.05
    assert {*MODEL, "mine-q8_0.gguf"} <= set(left(output))
    assert left(tmp_path) == ["merged"]
    readme = (output / "README.md").read_text()
    assert readme.startswith("---\nlicense: apache-2.0\n")
    assert f"{better:.4f}" in readme
    assert str(tmp_path) not in readme
    served = loading.load(ModelConfig(base=str(output), quantize="none"))
    assert served.fim.family == "gpt_bigcode"


def test_where_nothing_can_be_measured_the_form_it_was_trained_over_is_taken(trained: Path, tmp_path: Path) -> None:
    moved = tmp_path / "mine"
    shutil.copytree(trained, moved)
    record = json.loads((moved / MANIFEST).read_text())
    (moved / MANIFEST).write_text(json.dumps({**record, "workspace": str(tmp_path / "gone")}))
    output = tmp_path / "merged"
    done = export(moved, "--output", output, STARLING_MERGE="auto")
    assert done.returncode == 0, done.stderr
    assert "Merged onto dequantised: it was trained over 4-bit weights, and the files" in done.stdout.replace("\n", " ")
    assert set(MODEL) <= set(left(output))


@pytest.mark.slow
def test_gguf_alone_is_the_bare_base_and_the_adapter(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "gguf"
    output.mkdir()
    (output / "old").write_text("mine")
    refused(export(trained, "--gguf", "--output", output), "--overwrite")
    assert left(output) == ["old"]
    done = export(trained, "--gguf", "--output", output, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert left(output) == ["README.md", "mine-lora.gguf", "tiny-f16.gguf"]
    assert "-m tiny-f16.gguf --lora mine-lora.gguf" in (output / "README.md").read_text()


def another_base(folder: Path) -> tuple[str, ...]:
    shutil.copytree(TINY_DIR, folder / "base")
    tokenizer = folder / "base" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    return ("--gguf", "--base", str(folder / "base"))


def another_kind_of_model(folder: Path) -> tuple[str, ...]:
    shutil.copytree(TINY_DIR, folder / "base")
    config = json.loads((folder / "base" / "config.json").read_text())
    (folder / "base" / "config.json").write_text(json.dumps({**config, "model_type": "gpt_neox"}))
    return ("--gguf", "--base", str(folder / "base"))


def nothing_asked(_: Path) -> tuple[str, ...]:
    return ()


def too_few_holes(_: Path) -> tuple[str, ...]:
    return ("--merge", "auto", "--holes", "-1")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (another_base, "does not fit"),
        (another_kind_of_model, "'gpt_neox'"),
        (nothing_asked, "--merge"),
        (too_few_holes, "--holes"),
    ],
)
def test_what_cannot_be_exported(
    make: Callable[[Path], Sequence[str]], words: str, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "a"
    refused(export(trained, "--output", output, *make(tmp_path)), words)
    assert not output.parent.exists()


def test_an_adapter_that_is_nowhere(tmp_path: Path) -> None:
    refused(export("nobody", "--gguf", "--output", tmp_path / "a"), "There is no adapter 'nobody'")
    assert left(tmp_path) == []


@pytest.mark.parametrize("what", [("--gguf",), ("--merge", "bf16")])
def test_a_full_disk_leaves_nothing(what: Sequence[str], trained: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    refused(export(trained, *what, "--output", tmp_path / "a", preexec=small_files), "no room left")
    assert left(tmp_path) == []


def test_a_missing_extra_is_named_with_its_command(trained: Path, tmp_path: Path) -> None:
    done = run("-c", WITHOUT_GGUF, "export", trained, "--gguf", "--output", tmp_path / "a")
    assert done.returncode == 2
    assert done.stderr.strip() == "This command needs the package gguf: pip install 'starling[gguf]'"
    assert left(tmp_path) == []


def test_a_folder_named_export_is_still_a_source(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "export")
    small = ("--dry-run", "--base", "tiny", "--context-tokens", "192", "--max-tokens", "32")
    inside = f"import os; os.chdir({str(tmp_path)!r}); from starling_training.__main__ import main; main()"
    done = run("-c", inside, "./export", *small)
    assert done.returncode == 0, done.stderr
    assert "Plan: " in done.stdout


def test_held_out_files_are_found_where_they_were(trained: Path, tmp_path: Path) -> None:
    from starling_server.models import adapters

    manifest = adapters.load(trained).manifest
    found = merge.held_out_documents(manifest)
    assert [document.path for document in found] == manifest.data["held_out"]
    assert merge.held_out_documents(manifest.model_copy(update={"workspace": str(tmp_path)})) == []
    assert len(merge.held_out_examples(found, manifest, bases.find("tiny"), 3)) == 3
    outside = {**manifest.data, "held_out": ["../../etc/passwd"]}
    assert merge.held_out_documents(manifest.model_copy(update={"data": outside})) == []


def test_what_an_adapter_was_trained_over(trained: Path) -> None:
    from starling_server.models import adapters

    manifest = adapters.load(trained).manifest
    assert manifest.training["quantized"] is True
    assert export_config.trained_over(manifest) == "dequantised"
    for change in ({"method": "lora"}, {"quantized": False}):
        other = manifest.model_copy(update={"training": {**manifest.training, **change}})
        assert export_config.trained_over(other) == "bf16"
        assert export_config.unmeasured(other, "why").onto == "bf16"
    assert export_config.by_loss({"bf16": 2.0, "dequantised": 1.9}, 1.8).onto == "dequantised"
    assert export_config.by_loss({"bf16": 1.7, "dequantised": 1.9}, 1.8).onto == "bf16"


def test_a_base_without_a_card_has_its_licence_looked_up(trained: Path, tmp_path: Path) -> None:
    from starling_server.models import adapters

    shutil.copytree(TINY_DIR, tmp_path / "bare")
    (tmp_path / "bare" / "README.md").unlink()
    text = export_card.merged(
        adapters.load(trained), bases.find(str(tmp_path / "bare")), Choice("bf16", "as asked for")
    )
    assert "license: other" in text
    assert "look it up" in text
    assert str(tmp_path) not in text
