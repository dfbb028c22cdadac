"""Public benchmarks in the formats they were published in, and the running of code that a model wrote."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from starling_server.errors import SourceError
from starling_training.evaluation import benchmarks, execute
from starling_training.evaluation.benchmarks import Name
from starling_training.evaluation.execute import Calls, Limits

LIMITS = Limits(10)
HUMANEVAL = {
    "task_id": "SingleLineInfilling/HumanEval/0/L0", "entry_point": "add",
    "prompt": "def add(a, b):\n", "canonical_solution": "    total = a + b\n", "suffix": "    return total\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}  # fmt: skip
SAFIM = {
    "task_id": "block_completion_000001", "lang": "python",
    "prompt": "Print twice the number.\n\nn = int(input())\n# TODO: Your code here\n",
    "eval_prompt": "n = int(input())\n{{completion}}\n", "ground_truth": "print(2 * n)",
    "unit_tests": json.dumps([{"input": "3\n", "output": ["6\n"]}, {"input": "0\n", "output": ["0", "-0"]}]),
}  # fmt: skip
SAFIM_API = {
    "task_id": "api_completion_000001", "lang": "java", "prompt": "int n = /* TODO: Your code here */;\n",
    "eval_prompt": "int n = {{completion}};\n", "ground_truth": "Math.max(a, b)", "unit_tests": "[]",
}  # fmt: skip
CROSSCODEEVAL = {
    "prompt": "from ledger import open_ledger\nentry = ", "groundtruth": "open_ledger(key)",
    "right_context": "\nprint(entry)\n", "crossfile_context": {"text": "# ledger.py", "list": []},
    "metadata": {"task_id": "project_cc_python/1", "repository": "owner/ledger", "file": "ledger/main.py"},
}  # fmt: skip
REPOBENCH = {
    "repo_name": "owner/ledger", "file_path": "ledger/main.py", "context": [], "import_statement": "import os",
    "cropped_code": "def size(path):", "all_code": "", "next_line": "    return os.stat(path).st_size", "level": "2k",
}  # fmt: skip
SANTACODER = {
    "name": "HumanEval_0_add", "language": "js", "prompt": "function add(a, b) {\n", "suffix": "\n}\n",
    "canonical_solution": "  return a + b;", "tests": "",
}  # fmt: skip
ROWS: dict[Name, dict[str, Any]] = {
    "humaneval-infilling": HUMANEVAL, "safim": SAFIM, "crosscodeeval": CROSSCODEEVAL, "repobench": REPOBENCH,
    "santacoder": SANTACODER,
}  # fmt: skip
EXPECTED = {
    "humaneval-infilling": ("def add(a, b):\n", "    total = a + b", "\n    return total\n", ".py"),
    "safim": ("Print twice the number.\n\nn = int(input())\n", "print(2 * n)", "\n", ".py"),
    "crosscodeeval": (CROSSCODEEVAL["prompt"], "open_ledger(key)", "\nprint(entry)\n", "main.py"),
    "repobench": ("import os\ndef size(path):\n", "    return os.stat(path).st_size", "", "main.py"),
    "santacoder": ("function add(a, b) {\n", "  return a + b;", "\n}\n", ".js"),
}


def file(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "tasks.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return str(path)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_a_hole(name: Name, tmp_path: Path) -> None:
    (task,) = benchmarks.read(name, file(tmp_path, ROWS[name]))
    prefix, middle, suffix, ending = EXPECTED[name]
    assert (task.hole.prefix, task.hole.middle, task.hole.suffix) == (prefix, middle, suffix)
    assert task.path.endswith(ending)
    assert task.mode == "line"


@pytest.mark.parametrize("name", ["humaneval-infilling", "safim"])
def test_answers_are_run(name: Name, tmp_path: Path) -> None:
    (task,) = benchmarks.read(name, file(tmp_path, ROWS[name]))
    assert task.check is not None
    assert task.check.passes(task.hole.middle, LIMITS)
    indent = task.hole.middle[: len(task.hole.middle) - len(task.hole.middle.lstrip())]
    for wrong in ("total = 1", "pass", "raise SystemExit(0)", "while True: pass", "print('6')", "(", ""):
        assert not task.check.passes(indent + wrong, Limits(1)), wrong


def test_calls_match_whatever_the_order_of_named_arguments(tmp_path: Path) -> None:
    (task,) = benchmarks.read("safim", file(tmp_path, SAFIM_API))
    assert task.check is not None
    assert task.check.passes("Math.max( a,b )", LIMITS)
    assert not task.check.passes("Math.max(b, a)", LIMITS)
    call = Calls("f(1, a=2, b=3)", "python")
    assert call.passes("f(1, b=3, a=2)", LIMITS)
    assert not call.passes("f(1, b=2, a=3)", LIMITS)
    assert not call.passes("g(1, a=2, b=3)", LIMITS)


def test_a_row_of_another_benchmark_is_told_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Row 2 of .* is not a row of safim"):
        benchmarks.read("safim", file(tmp_path, SAFIM, HUMANEVAL))
    with pytest.raises(SourceError, match="holds no rows"):
        benchmarks.read("safim", file(tmp_path))
    with pytest.raises(SourceError, match="is a folder"):
        benchmarks.read("safim", str(tmp_path))


def script(folder: Path, text: str, limits: Limits = LIMITS) -> execute.Outcome:
    (folder / "script.py").write_text(text)
    return execute.run([sys.executable, "-I", "script.py"], folder, limits)


def test_time_memory_and_files_have_limits(tmp_path: Path) -> None:
    assert script(tmp_path, "print('done')").output == "done\n"
    assert script(tmp_path, "import time; time.sleep(60)", Limits(0.5)).status is None
    assert "MemoryError" in script(tmp_path, "x = bytearray(1 << 30)", Limits(10, memory_mb=512)).errors
    assert script(tmp_path, "open('x', 'wb').write(bytes(5 << 20))", Limits(10, file_mb=1)).status != 0


def test_what_is_run_sees_no_tokens_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    found = script(tmp_path, "import os; print(os.environ.get('HF_TOKEN'), os.environ['HOME'])")
    assert found.output == f"None {tmp_path}\n"
    later = "import time; time.sleep(1); open('late', 'w')"
    late = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {later!r}])"
    assert script(tmp_path, late).status == 0
    script(tmp_path, "import time; time.sleep(2)")
    assert not (tmp_path / "late").exists()
