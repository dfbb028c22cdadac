"""The shape of the code: small modules, small functions, nothing of the machine it was written on."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MOST_LINES, MOST_FUNCTION_LINES = 400, 60
LISTED = subprocess.run(["git", "-C", str(REPOSITORY), "ls-files"], capture_output=True, text=True, check=True)
FILES = [path for path in LISTED.stdout.splitlines() if (REPOSITORY / path).is_file()]
MODULES = [path for path in FILES if path.endswith((".py", ".lua", ".ts"))]


@pytest.mark.parametrize("path", MODULES)
def test_modules_and_functions_are_small(path: str) -> None:
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    if path.endswith(".py"):
        functions = [
            node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno}
        assert {name: size for name, size in long.items() if size > MOST_FUNCTION_LINES} == {}


def test_links_between_documents_lead_somewhere() -> None:
    broken = list[str]()
    for path in (path for path in FILES if path.endswith(".md")):
        text = (REPOSITORY / path).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            if not (REPOSITORY / path).parent.joinpath(target).exists():
                broken.append(f"{path}: {target}")
    assert broken == []
