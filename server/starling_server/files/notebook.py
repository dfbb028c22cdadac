"""The code of Jupyter notebooks."""

import json
from typing import Any

SUFFIX = ".ipynb"
LANGUAGE = "python"


def code(content: str) -> str | None:
    """The Python code cells of a notebook, separated by a blank line; None if `content` is not a Python notebook."""
    try:
        notebook: dict[str, Any] = json.loads(content)
        cells = [_source(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        text = "\n".join(cell + "\n" for cell in cells if cell) if _is_python(notebook) else None
        return text and text.encode("utf-8", "replace").decode()  # JSON can contain unpaired surrogates
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _source(cell: dict[str, Any]) -> str:
    """A cell's text, stored in the file as one string or as a list of lines."""
    source = cell["source"]
    return (source if isinstance(source, str) else "".join(source)).strip("\n")


def _is_python(notebook: dict[str, Any]) -> bool:
    """Whether the notebook declares Python; without a declaration it is Python, as in Jupyter."""
    metadata = notebook.get("metadata") or {}
    kernel, info = metadata.get("kernelspec") or {}, metadata.get("language_info") or {}
    return str(info.get("name") or kernel.get("language") or LANGUAGE).lower() == LANGUAGE
