"""Whether an answer is right, found out by running it, as the benchmarks do."""

import ast
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from starling_training.evaluation import sandbox
from starling_training.evaluation.sandbox import Limits

FILE = "program.py"


class Check(Protocol):
    """A task's own judgement."""

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether `text` is right in the task's hole."""
        ...


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program with its assertions behind it: HumanEval's."""

    before: str
    after: str

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether it comes to its end: one that ends itself earlier, whatever its status, has not shown anything."""
        reached = secrets.token_hex()
        found = _run(f"{self.before}{text}{self.after}\nprint({reached!r})\n", limits)
        return found.status == 0 and found.output.rstrip().endswith(reached)


@dataclass(frozen=True, slots=True)
class Inputs:
    """A Python program that reads and writes: SAFIM's."""

    before: str
    after: str
    tests: Sequence[tuple[str, Sequence[str]]]
    """Input, and outputs that are right for it."""

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether it writes a right output for every input, blanks and line ends aside."""
        for given, right in self.tests:
            found = _run(f"{self.before}{text}{self.after}", limits, given)
            if found.status != 0 or found.output.split() not in [output.split() for output in right]:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Calls:
    """A call to be matched, nothing to be run: SAFIM's API tasks (its `syntax_match`)."""

    truth: str
    language: str

    def passes(self, text: str, limits: Limits) -> bool:
        """Whether both are the same but for blanks, and in Python for the order of named arguments."""
        mine, right = ("".join(code.split()) for code in (text, self.truth))
        if self.language == "python":
            pairs = _call(mine), _call(right)
            if all(pairs):
                return pairs[0] == pairs[1]
        return mine == right


def _run(program: str, limits: Limits, stdin: str = "") -> sandbox.Outcome:
    with TemporaryDirectory(prefix="starling-run-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / FILE).write_text(program, encoding="utf-8")
        return sandbox.run([sys.executable, "-I", FILE], Path(folder), limits, stdin)


def _call(code: str) -> tuple[list[str], dict[str | None, str]] | None:
    """A call's arguments, by place and by name; the function's own name too, which the published code leaves out."""
    try:
        node = ast.parse(code, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(node, ast.Call):
        return None
    placed = [ast.dump(argument) for argument in (node.func, *node.args)]
    return placed, {argument.arg: ast.dump(argument.value) for argument in node.keywords}
