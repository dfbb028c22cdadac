"""The code of Jupyter notebooks."""

import json
from typing import Any

SUFFIX = ".ipynb"
LANGUAGE = "python"


def code(content: str) -> str | None:
    """The code cells of a notebook in Python, a blank line between two; None where `content` is none."""
    try:
        notebook: dict[str, Any] = json.loads(content)
        cells = [_source(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        text = "\n".join(cell + "\n" for cell in cells if cell) if _is_python(notebook) else None
        return text and text.encode("utf-8", "replace").decode()  # JSON can hold halves of surrogate pairs
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _source(cell: dict[str, Any]) -> str:
    """A cell's text, which lies in the file as one string or line by line."""
    source = cell["source"]
    return (source if isinstance(source, str) else "".join(source)).strip("\n")


def _is_python(notebook: dict[str, Any]) -> bool:
    """By the notebook's own word; one that says nothing is Python, as Jupyter has it."""
    metadata = notebook.get("metadata") or {}
    kernel, info = metadata.get("kernelspec") or {}, metadata.get("language_info") or {}
    return str(info.get("name") or kernel.get("language") or LANGUAGE).lower() == LANGUAGE
