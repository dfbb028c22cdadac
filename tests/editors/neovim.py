"""A real Neovim with the plugin, driven over its own RPC."""

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pynvim
from support.shared import end_servers

HERE = Path(__file__).parent
PLUGIN = HERE.parents[1] / "editor-configs" / "neovim"

ATTACHED = "return next(vim.lsp.get_clients({name = 'starling', bufnr = 0})) ~= nil"
STATUS = "return require('starling').status()"
COUNT_ANSWERS = """
vim.api.nvim_create_autocmd('LspRequest', {callback = function(event)
  local request = event.data.request
  if request.type == 'complete' and request.method == 'textDocument/inlineCompletion' then
    vim.g.answers = (vim.g.answers or 0) + 1
  end
end})
"""
SCREEN = """
return vim.iter(vim.fn.range(1, vim.o.lines)):map(function(row)
  return vim.iter(vim.fn.range(1, vim.o.columns)):map(function(column)
    return vim.fn.screenstring(row, column)
  end):join('')
end):totable()
"""


T = TypeVar("T")


def wait_until(look: Callable[[], T | None], what: str, seconds: float = 20.0) -> T:
    """The first true value of `look`; fails after `seconds` with what was seen last."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}; last saw {seen!r}"
        time.sleep(0.01)
    return seen


@dataclass(frozen=True, slots=True)
class Ghost:
    """Ghost text as Neovim holds it."""

    row: int
    """0-based."""
    column: int
    """0-based, in bytes."""
    text: str
    covers: bool
    """Whether it is drawn over the rest of the line rather than before it."""

    def over(self, lines: Sequence[str]) -> list[str]:
        """What a person sees with the ghost over `lines`."""
        line = lines[self.row].encode()
        before, after = line[: self.column].decode(), line[self.column :].decode()
        first, *others = self.text.split("\n")
        rest = after[len(first) :] if self.covers else after
        return [*lines[: self.row], before + first + rest, *others, *lines[self.row + 1 :]]


@dataclass(slots=True)
class Editor:
    """One Neovim. Columns of the screen and keys are as a person has them."""

    nvim: Any
    log: Path
    """Of its language client."""

    def open(self, path: Path) -> None:
        """Edits a file and waits until the language server has it."""
        self.nvim.command(f"edit {path}")
        attached = (
            "return #vim.lsp.get_clients({name = 'starling', bufnr = 0, method = 'textDocument/inlineCompletion'})"
        )
        wait_until(lambda: self.nvim.exec_lua(attached), "the language client", 60)

    def keys(self, keys: str) -> None:
        """Types; returns before Neovim has acted on it."""
        self.nvim.input(keys.replace("<Lt>", "<").replace("\n", "<CR>"))

    def wait_for_status(self, kind: str) -> None:
        """Returns once the language server says this of itself."""
        wait_until(lambda: self.nvim.exec_lua(STATUS) == f"starling: {kind}", f"status {kind!r}", 120)

    @property
    def report(self) -> str:
        """All that `:StarlingStatus` tells."""
        return self.nvim.eval("trim(execute('StarlingStatus'))")

    @property
    def lines(self) -> list[str]:
        """Text of the buffer."""
        return list(self.nvim.current.buffer[:])

    @property
    def screen(self) -> list[str]:
        """What the grid shows, ghost text included."""
        self.nvim.command("redraw")
        return [row.rstrip() for row in self.nvim.exec_lua(SCREEN)]

    @property
    def ghost(self) -> Ghost | None:
        """The ghost text in the buffer, if any."""
        space = self.nvim.api.create_namespace("nvim.lsp.inline_completion")
        marks = self.nvim.api.buf_get_extmarks(0, space, 0, -1, {"details": True})
        if not marks:
            return None
        [[_, row, column, details]] = marks
        rows = [details.get("virt_text", []), *details.get("virt_lines", [])]
        text = "\n".join("".join(chunk[0] for chunk in chunks) for chunks in rows)
        return Ghost(row, column, text, details["virt_text_pos"] == "overlay") if text else None

    def expect_ghost(self, text: str | None = None, seconds: float = 20.0) -> Ghost:
        """The ghost text, once there is one, and of this text if one is named."""

        def look() -> Ghost | None:
            ghost = self.ghost
            return ghost if ghost and text in (None, ghost.text) else None

        return wait_until(look, f"ghost text {text or ''!r}; {self.log} may tell more", seconds)

    @property
    def answers(self) -> int:
        """How many requests for suggestions the language server has answered."""
        return self.nvim.eval("get(g:, 'answers', 0)")

    def wait_for_answer(self, since: int) -> None:
        """Returns once there is another answer."""
        wait_until(lambda: self.answers > since, "an answer to what was typed", 60)

    def expect_lines(self, *lines: str) -> None:
        """Returns once the buffer has exactly this text."""
        wait_until(lambda: self.lines == list(lines), f"{lines!r} in place of {self.lines!r}")


@dataclass(frozen=True, slots=True)
class Start:
    """Starts editors, all of which end with the test."""

    binary: str
    folder: Path
    ends: ExitStack = field(default_factory=ExitStack)

    def __call__(self, command: Sequence[str], lua: str = "", **options: Any) -> Editor:
        """Neovim with the plugin on its runtime path, `command` as language server, and README's keys.

        `lua` runs first, as a user's settings do. The model is the language server's own, unless `server` is named.
        """
        options = {"cmd": list(command), "server": False, **options}
        home = Path(tempfile.mkdtemp(dir=self.folder))
        nvim = self._spawn(home, f"vim.g.starling = vim.json.decode([==[{json.dumps(options)}]==]) {lua}")
        nvim.ui_attach(80, 24, rgb=True, ext_linegrid=True)
        nvim.exec_lua(COUNT_ANSWERS)
        nvim.exec_lua(readme_keys())
        return Editor(nvim, home / "state" / "nvim" / "lsp.log")

    def _spawn(self, home: Path, lua: str) -> Any:
        address = home / "nvim.sock"
        homes = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
        settings = [
            *("--cmd", f"set runtimepath^={PLUGIN} noswapfile"),
            *("--cmd", f"lua {lua}"),
        ]
        command = [self.binary, "--clean", "--headless", "--listen", str(address), *settings]
        state = home / "starling"
        self.ends.callback(end_servers, state)
        process = subprocess.Popen(command, env=os.environ | homes | {"STARLING_STATE_DIR": str(state)})
        self.ends.callback(ended, process)
        wait_until(lambda: listens(address), "Neovim to listen")
        nvim = pynvim.attach("socket", path=str(address))
        self.ends.callback(leave, nvim)
        return nvim


def leave(nvim: Any) -> None:
    """Quits Neovim. It closes the connection in place of an answer."""
    with suppress(EOFError):
        nvim.command("qall!")
    nvim.close()


def ended(process: subprocess.Popen[bytes]) -> None:
    """Fails unless the process ends well and soon; ends it in any case."""
    try:
        assert process.wait(20) == 0
    finally:
        process.kill()


def listens(address: Path) -> bool:
    """Whether a connection is taken there: the socket's file appears a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


def readme_keys() -> str:
    """The Lua of README's section on keys, so that what we tell people to paste is what is tested."""
    section = (PLUGIN / "README.md").read_text(encoding="utf-8").split("## Keys", 1)[1]
    return section.split("```lua\n", 1)[1].split("```", 1)[0]
