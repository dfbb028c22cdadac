"""Known bases in the folders of other programs, in their layouts."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from starling_server.models.catalogue import known, on_disk

DIGEST = "ab" * 32


def sparse(path: Path, size: int) -> Path:
    """A file of this size that takes no space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(size)
    return path


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it yet."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama.cpp"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    assert on_disk.found() == []
    return tmp_path


def seen() -> list[tuple[str, str, str]]:
    return [(copy.known.id, copy.place, copy.name) for copy in on_disk.found()]


def test_the_hub(disk: Path) -> None:
    for name, files in {
        "Qwen--Qwen2.5-Coder-1.5B": ("config.json", "model.safetensors"),
        "bigcode--starcoder2-3b": ("config.json",),
        "Qwen--Qwen2.5-Coder-14B-Instruct-AWQ": ("config.json", "model.safetensors"),
        "Qwen--Qwen2.5-Coder-0.5B-Instruct-GGUF": ("qwen2.5-coder-0.5b-instruct-q8_0.gguf",),
        "someone--a-novel": ("config.json", "model.safetensors"),
    }.items():
        folder = disk / "hub" / f"models--{name}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0123abcd\n")
        for file in files:
            sparse(folder / "snapshots" / "0123abcd" / file, 500_000_000)
    (disk / "hub" / "models--Qwen--Qwen2.5-Coder-7B" / "refs").mkdir(parents=True)
    (disk / "hub" / "models--Qwen--Qwen2.5-Coder-7B" / "refs" / "main").write_text("../../elsewhere")
    gguf = "models--Qwen--Qwen2.5-Coder-0.5B-Instruct-GGUF/snapshots/0123abcd/qwen2.5-coder-0.5b-instruct-q8_0.gguf"
    assert seen() == [
        ("Qwen/Qwen2.5-Coder-1.5B", "Hugging Face", "Qwen/Qwen2.5-Coder-1.5B"),
        ("Qwen/Qwen2.5-Coder-0.5B", "Hugging Face", str(disk / "hub" / gguf)),
    ]


def test_llama_cpp_and_our_own_folder(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARLING_CACHE_DIR", str(disk / "cache"))
    llama_cpp = disk / "llama.cpp"
    fim = sparse(llama_cpp / "ggml-org_Qwen2.5-Coder-1.5B-Q8_0-GGUF_qwen2.5-coder-1.5b-q8_0.gguf", 1_600_000_000)
    first = sparse(llama_cpp / "starcoder2-7b-00001-of-00002.gguf", 1000)
    own = sparse(disk / "cache" / "real-bases" / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 491_400_064)
    sparse(llama_cpp / "starcoder2-7b-00002-of-00002.gguf", 1000)
    sparse(llama_cpp / "qwen2.5-coder-7b-q4_0.gguf", 1000)  # an unfinished download
    sparse(llama_cpp / "ggml-vocab-starcoder.gguf", 1_700_000)
    sparse(llama_cpp / "codegemma-7b-mmproj.gguf", 2_000_000_000)
    assert seen() == [
        ("bigcode/starcoder2-7b", "llama.cpp", str(first)),
        ("Qwen/Qwen2.5-Coder-1.5B", "llama.cpp", str(fim)),
        ("Qwen/Qwen2.5-Coder-0.5B", "Starling", str(own)),
    ]


def test_ollama(disk: Path) -> None:
    models = disk / "ollama"
    blob = sparse(models / "blobs" / f"sha256-{DIGEST}", 100)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'0' * 64}"},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{DIGEST}"},
    ]
    for name, content in {
        "library/qwen2.5-coder/1.5b-base": {"layers": layers},
        "library/llama3/latest": {"layers": layers},
        "library/starcoder2/3b": {"layers": [{**layers[1], "digest": "sha256:../../etc/passwd"}]},
        "library/starcoder2/7b": {"layers": [{**layers[1], "digest": f"sha256:{'1' * 64}"}]},
        "library/deepseek-coder/6.7b": {"layers": {"a": 1}},
        "library/codellama/7b": [],
    }.items():
        manifest = models / "manifests" / "registry.ollama.ai" / name
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps(content))
    assert seen() == [("Qwen/Qwen2.5-Coder-1.5B", "Ollama", str(blob))]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("Qwen2.5-Coder-14B-Instruct-Q4_K_M", "Qwen/Qwen2.5-Coder-14B"),
        ("granite-code-3b", "ibm-granite/granite-3b-code-base-2k"),
        ("starcoder-q4_0", "bigcode/starcoder"),
        ("starcoder2-15b.Q4_K_M", "bigcode/starcoder2-15b"),
        ("deepseek-coder-6.7b-base", "deepseek-ai/deepseek-coder-6.7b-base"),
        ("qwen2.5-0.5b-instruct", None),
        ("starcoder2-30b", None),
    ],
)
def test_names(name: str, base: str | None) -> None:
    row = known.of(name)
    assert (row and row.id) == base


def test_the_command(disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from starling_training import bases_cli

    monkeypatch.setenv("COLUMNS", "200")
    own = sparse(disk / "llama.cpp" / "qwen2.5-coder-0.5b-q8_0.gguf", 531_000_000)
    bases_cli.bases.main([], standalone_mode=False)
    said = capsys.readouterr().out
    for row in (*known.KNOWN, known.TINY):
        assert row.id in said
    assert f"Qwen/Qwen2.5-Coder-0.5B from llama.cpp: --base {own}" in said
    assert "--base auto is " in said


def test_a_narrow_terminal_cuts_nothing(
    disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from starling_training import bases_cli

    monkeypatch.setenv("COLUMNS", "80")
    bases_cli.bases.main([], standalone_mode=False)
    said = capsys.readouterr().out
    assert "…" not in said
    for row in (*known.KNOWN, known.TINY):
        assert f" {row.four_bits / 1e9:.1f}  " in said
