"""The shape of the code: rooms with a door, chapters that are not too long, small functions and classes."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MOST_LINES, MOST_FUNCTION_LINES, MOST_MODULES = 400, 60, 15
DOOR = ("In:", "Out:", "May import:")
"""What the `__init__` of every room says."""
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|misc|base_class|managers?)(_|$)")
LISTED = subprocess.run(["git", "-C", str(REPOSITORY), "ls-files"], capture_output=True, text=True, check=True)
FILES = [path for path in LISTED.stdout.splitlines() if (REPOSITORY / path).is_file()]
MODULES = [path for path in FILES if path.endswith((".py", ".lua", ".ts"))]
PACKAGES = ("server/starling_server", "training/starling_training", "lsp/starling_lsp")
ROOMS = sorted({path.rpartition("/")[0] for path in FILES if path.endswith(".py") and path.startswith(PACKAGES)})


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


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_door_and_not_too_many_modules(room: str) -> None:
    modules = [Path(path).stem for path in FILES if path.endswith(".py") and path.rpartition("/")[0] == room]
    inside = [name for name in modules if not name.startswith("__")]
    assert len(inside) <= MOST_MODULES
    assert [name for name in inside if VAGUE.search(name)] == []
    if room not in PACKAGES:
        said = ast.get_docstring(ast.parse((REPOSITORY / room / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert [word for word in DOOR if word not in said] == []
