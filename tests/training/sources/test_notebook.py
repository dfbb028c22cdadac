"""Notebooks: their code, and nothing else of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from starling_server.files import notebook
from starling_training.sources import clean, corpus
from starling_training.sources.clean import Document

CELLS: list[dict[str, Any]] = [
    {"cell_type": "markdown", "source": ["# A title\n", "words"]},
    {"cell_type": "code", "source": ["import os\n", "x = 1"], "outputs": [{"text": "secret output"}]},
    {"cell_type": "code", "source": ""},
    {"cell_type": "code", "source": "def f(a):\n    return a\n"},
]


def made(**metadata: Any) -> str:
    return json.dumps({"cells": CELLS, "metadata": metadata, "nbformat": 4})


def test_code_cells_joined() -> None:
    found = clean.document("a.ipynb", made(kernelspec={"language": "python"}).encode())
    assert isinstance(found, Document)
    assert found.text == "import os\nx = 1\n\ndef f(a):\n    return a\n"


@pytest.mark.parametrize(
    "content", ["{}", "[1]", "not json", '{"cells": [{}]}', '{"cells": 5}', made(language_info={"name": "julia"})]
)
def test_what_is_no_python_notebook(content: str) -> None:
    assert notebook.code(content) is None
    assert clean.document("a.ipynb", content.encode()) == "no Python notebook"


def test_one_of_many_files(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"m{number}.py").write_text("".join(f"def f{number}_{n}(a):\n    return {n}\n" for n in range(40)))
    (tmp_path / "n.ipynb").write_text(made())
    assert corpus.read([tmp_path]).languages == {"Python": 7}
