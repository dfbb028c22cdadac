"""`--base auto`: by memory and speed, what is on the disk before what must be fetched, with the reason in words."""

from pathlib import Path

import pytest

from starling_server.backends.llamacpp.gguf_export.write import write_base
from starling_server.models import bases
from starling_server.models.catalogue import auto, known
from starling_server.models.catalogue.auto import GIB, Machine
from starling_server.models.catalogue.on_disk import Found


def gpu(gib: int) -> Machine:
    return Machine(gib * GIB, 8, 32 * GIB)


def cpu(cores: int, has_llama_cpp: bool = True) -> Machine:
    return Machine(0, cores, 32 * GIB, has_llama_cpp)


def copy(base: str, is_gguf: bool = True) -> Found:
    row = known.of(base)
    assert row is not None
    return Found(
        row, f"/models/{base}.gguf" if is_gguf else row.id, "llama.cpp" if is_gguf else "Hugging Face", is_gguf
    )


def test_an_empty_disk() -> None:
    chosen = [auto.choose(gpu(size), [])[0] for size in (1, 2, 4, 8, 12, 16, 24, 80)]
    assert chosen == [
        "tiny", "Qwen/Qwen2.5-Coder-0.5B", "Qwen/Qwen2.5-Coder-1.5B", "bigcode/starcoder2-3b",
        "bigcode/starcoder2-3b", "bigcode/starcoder2-7b", "Qwen/Qwen2.5-Coder-7B", "Qwen/Qwen2.5-Coder-7B",
    ]  # fmt: skip
    assert auto.choose(gpu(1), [])[1].startswith("the bundled demonstration base: with a GPU of 1 GiB no released")
    assert auto.choose(cpu(2), []) == (
        "tiny",
        "the bundled demonstration base: with 2 CPU cores no released base is fast enough for suggestions while typing",
    )
    assert auto.choose(cpu(8), []) == (
        "tiny",
        "the bundled demonstration base: none on this disk suits 8 CPU cores; Qwen/Qwen2.5-Coder-0.5B would: "
        "--base Qwen/Qwen2.5-Coder-0.5B fetches it",
    )


def test_no_default_is_gated_or_too_slow() -> None:
    defaults = [row for row in known.KNOWN if row.is_default]
    assert defaults
    assert not any(row.gated for row in defaults)
    large = known.of("starcoder-15.5b") or known.of("starcoder")
    assert large is not None
    assert gpu(24).fits(large) == "slow", "15.5 billion weights are no ghost text on 24 GB"
    assert gpu(12).fits(large) == "no"


def test_what_is_on_the_disk_comes_first() -> None:
    small, large = copy("qwen2.5-coder-0.5b-q8_0"), copy("qwen2.5-coder-7b-q4_k_m")
    assert auto.choose(cpu(8), [large, small]) == (
        small.name, "the best one on this disk (llama.cpp) that is fast enough with 8 CPU cores",
    )  # fmt: skip
    name, why = auto.choose(cpu(2), [large, small])
    assert name == "tiny"
    assert why.endswith(f"({small.name} is here: name it with --base if you can wait)")
    name, why = auto.choose(gpu(24), [copy("qwen2.5-coder-1.5b", is_gguf=False)])
    assert name == "Qwen/Qwen2.5-Coder-1.5B"
    assert why.endswith("; Qwen/Qwen2.5-Coder-7B would be better, and is not here")


@pytest.mark.parametrize("machine", [gpu(24), cpu(8, has_llama_cpp=False)])
def test_a_gguf_file_counts_where_llama_cpp_computes_it(machine: Machine) -> None:
    assert auto.choose(machine, [copy("qwen2.5-coder-0.5b")])[0] == auto.choose(machine, [])[0]


def test_a_copy_that_cannot_be_used_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path))
    monkeypatch.setattr(Machine, "here", lambda _gpu_bytes: cpu(8))  # pyright: ignore[reportUnknownLambdaType]
    write_base(bases.find("tiny"), tmp_path / "tiny.gguf", "q8_0")
    with (tmp_path / "qwen2.5-coder-0.5b-q8_0.gguf").open("wb") as stream:
        stream.truncate(500_000_000)
    assert auto.named("auto", 0) == "tiny"
    assert "is no GGUF file" in caplog.text
    whole = (tmp_path / "tiny.gguf").rename(tmp_path / "qwen2.5-coder-0.5b-q4_0.gguf")
    with whole.open("ab") as stream:
        stream.truncate(500_000_000)
    assert auto.named("auto", 0) == str(whole), "the one that can be used, after one that cannot"


def test_a_name_is_taken_as_it_is() -> None:
    assert auto.named("somebody/base", 0) == "somebody/base"
    assert auto.named("auto", 0) == "tiny", "tests see no models of this machine"
