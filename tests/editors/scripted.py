"""An editor on the scripted language server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from editors.neovim import Editor, wait_until

SCRIPT = {
    "fo": "o_bar",
    "call(": "alpha, beta)",
    "日本 = '😀' + ": "'語' * 2",
    "def area(w, h):": "\n    size = w * h\n    return size",
    "pair = (": "'一', '😀')",
}


class Session:
    """An editor on one file, and the server's log."""

    def __init__(self, editor: Editor, file: Path, log: Path) -> None:
        self.editor, self.file, self._log = editor, file, log

    def logged(self, kind: str) -> list[Any]:
        """What the server got of this kind."""
        entries = [json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines()]
        return [entry["content"] for entry in entries if entry["kind"] == kind]

    def wait_for(self, kind: str) -> list[Any]:
        """The same, once there is any."""
        return wait_until(lambda: self.logged(kind), f"the server to get {kind!r}")


Begin = Callable[..., Session]
"""Opens a file with a text in Neovim on the scripted server."""
