"""The benchmarks of serving still run: each at its smallest size, without peers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ALONE = ("--runners", "torch", "--peers", "none")


def last_line(script: str, *arguments: str, cache: Path | None = None) -> dict[str, Any]:
    environment = {**os.environ, **({"STARLING_CACHE_DIR": str(cache)} if cache else {})}
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_every_key_gives_equally_many_tokens_on_equal_prompts() -> None:
    few = ("--passages", "1", "--keys", "14", "--tokens", "4", "--generate-keys", "1")
    figures = last_line("keystrokes.py", "--runners", "torch", "--peers", "generate", *few)
    torch, generate = figures["sides"]["torch"], figures["sides"]["generate"]
    assert (torch["keys"], generate["keys"]) == (14, 1)
    assert torch["tokens_per_answer"] == generate["tokens_per_answer"] == 4
    assert torch["prompt_tokens"] == pytest.approx(generate["prompt_tokens"], abs=20)  # it typed fewer keys
    assert torch["cached_share"] > 0.9
    assert figures["ratios"]["torch/generate key_p50_ms_per_4"] > 0
    assert figures["machine"]["cores"] == os.cpu_count()


@pytest.mark.slow
def test_a_burst_has_one_answer_and_a_price() -> None:
    figures = last_line("keystrokes.py", *ALONE, "--burst", "--passages", "1", "--keys", "4", "--tokens", "4")
    burst = figures["sides"]["torch"]
    assert burst["bursts"] == 1
    assert burst["last_p50_ms"] > 0
    assert burst["cpu_s_per_burst"] > 0


@pytest.mark.slow
def test_drafts_change_no_answer() -> None:
    figures = last_line("decode.py", "--holes", "3", "--max-tokens", "12", "--dtype", "float32")
    assert figures["differing"] == 0
    assert figures["holes"] == 3
    assert set(figures["sides"]) == {"drafts", "plain"}
    assert figures["sides"]["plain"]["drafted_tokens"] == 0


@pytest.mark.slow
def test_prefill_by_length() -> None:
    figures = last_line("prefill.py", *ALONE, "--lengths", "32,64,4096", "--repeats", "2")
    assert list(figures["sides"]["torch"]) == ["32", "64"]  # what does not fit the base is left out
    assert all(speed > 0 for speed in figures["sides"]["torch"].values())


@pytest.mark.slow
def test_several_sessions_and_their_memory() -> None:
    figures = last_line("concurrency.py", "--sessions", "1,2", "--keys", "2", "--tokens", "2", "--requests", "20")
    assert figures["sessions"]["2"]["requests"] == 4
    assert figures["throughput 2/1"] > 0
    assert figures["cursor"]["ratio"] == pytest.approx(1, abs=0.5)
    assert figures["growth"]["requests"] == 20


@pytest.mark.slow
def test_the_gpu_script_at_a_toy_size() -> None:
    few = ("--prompt", "64", "--tokens", "4", "--warm-tokens", "2", "--keys", "3", "--repeats", "1")
    figures = last_line("gpu.py", "--device", "cpu", "--shapes", "toy", *few)
    toy = figures["shapes"]["toy"]
    assert set(toy["sides"]) == {"generate", "ours", "ours with drafts"}
    assert toy["weight_gb"] > 0
    assert toy["sides"]["ours"]["warm_p50_ms"] > 0


@pytest.mark.slow
def test_a_shape_is_a_base_and_a_gguf_file(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    figures = last_line("shapes.py", "toy", "--gguf", "q4_0", cache=tmp_path)
    assert (Path(figures["base"]) / "config.json").is_file()
    assert Path(figures["q4_0"]).read_bytes()[:4] == b"GGUF"


@pytest.mark.slow
def test_answers_from_memory() -> None:
    figures = last_line("recall.py", "--passages", "4", "--rounds", "2")
    assert figures["answers"] > 20
    assert figures["p99_ms"] > figures["p50_ms"] > 0


@pytest.mark.slow
def test_filters_are_counted() -> None:
    figures = last_line("filters.py", str(BENCHMARKS.parent / "server" / "starling_server"), "--holes", "6")
    assert figures["holes"] > 0
    assert set(figures["filters"]["overlap"]) == {"fired", "won", "lost", "nearer", "farther"}


@pytest.mark.slow
def test_the_language_server_alone() -> None:
    figures = last_line("lsp.py", "--lines", "200", "--keys", "20")
    assert figures["keys"] == 20
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


@pytest.mark.slow
def test_windows_share_a_model() -> None:
    sides = last_line("windows.py", "--windows", "2")["sides"]
    assert 0 < sides["shared"]["memory_mb"] < sides["own"]["memory_mb"]
    assert sides["shared"]["back_s"] > 0


@pytest.mark.slow
def test_typists_get_no_errors_and_leave_nothing_in_the_log() -> None:
    figures = last_line("load.py", "--clients", "2", "--seconds", "3", "--overload", "2", "--overload-seconds", "2")
    assert figures["calm"]["requests"] > 0
    assert figures["calm"]["errors"] == figures["overload"]["errors"] == 0
    assert figures["log"]["tokens_in_log"] == figures["log"]["code_lines_in_log"] == 0
    assert figures["log"]["code_lines_searched"] > 100


def test_every_message_is_listed() -> None:
    figures = last_line("messages.py")
    assert figures["messages"] == sum(figures["kinds"].values())
    assert {"UsageError", "AdapterError", "UnknownAdapter", "Unfit", "warning", "tell"} <= set(figures["kinds"])


def test_an_index_is_built_and_asked(tmp_path: Path) -> None:
    for number in range(12):
        lines = "".join(f"    value_{n} = call_{number}({n})\n" for n in range(20))
        (tmp_path / f"f{number}.py").write_text(f"def call_{number}(value):\n{lines}    return value_{number}\n")
    figures = last_line("context_index.py", str(tmp_path), "--files", "10")
    assert figures["files"] == 10
    assert figures["choice_ms"]["p95"] >= figures["choice_ms"]["p50"] > 0


@pytest.mark.slow
def test_pieces_that_give_a_hole_away_are_dropped(tmp_path: Path) -> None:
    """Each file has a twin, which no prompt may show."""
    for number in range(4):
        lines = "".join(f"    total_of_{n} = summed_up_{number}(values, {n})\n" for n in range(30))
        for twin in "ab":
            head = f"def made_{number}_{twin}(values):\n"
            (tmp_path / f"{twin}{number}.py").write_text(head + lines + "    return total_of_0\n")
    figures = last_line("other_files.py", str(tmp_path), "--holes", "6")
    assert figures["holes"] > 0
    assert figures["leaking_pieces_dropped"] > 0
    assert figures["exact"].keys() == {"without", "with", "difference", "interval"}
