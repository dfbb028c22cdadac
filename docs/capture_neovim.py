"""A picture of a real Neovim in a real terminal showing real ghost text, as SVG.

    python docs/capture_neovim.py FILE KEYS PICTURE [-- LANGUAGE SERVER]

opens a copy of FILE in a tmux of its own, types KEYS as a person would, waits until ghost text shows and writes what
the terminal shows. KEYS may hold `<Escape>`, `<Enter>` and other names that tmux knows. With `--cycle` it goes on to
the next suggestion, and the picture shows which of how many it is.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "editor-configs" / "neovim"
COLUMNS, ROWS = 80, 18

GHOST = """vim.api.nvim_buf_get_extmarks(
  0, vim.api.nvim_create_namespace('nvim.lsp.inline_completion'), 0, -1, {})[1] ~= nil"""
READY = "require('starling').status() == 'starling: ready'"
SETTINGS = "noswapfile termguicolors background=dark laststatus=0 noshowmode noruler noshowcmd shortmess+=F"

BLACK, WHITE = (20, 22, 27), (224, 226, 234)
THEME = TerminalTheme(BLACK, WHITE, [BLACK] * 7 + [WHITE])
"""Neovim's own background and foreground. It names every other colour itself."""

TEMPLATE = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">{matrix}</g>
</g>
</svg>
"""
"""rich's own, less the fonts that it loads from the network."""


def wait_until(look: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Returns once `look` is true; a sentence that names `what` otherwise."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A tmux server with one window, and the Neovim in it."""

    folder: Path
    nvim: str

    def tmux(self, *arguments: str) -> str:
        """Output of one tmux command."""
        command = ["tmux", "-f", os.devnull, "-S", str(self.folder / "tmux"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def start(self, command: list[str]) -> None:
        """Runs a program in a window of the picture's size."""
        homes = [f"XDG_{name}_HOME={self.folder / name}" for name in ("CONFIG", "DATA", "STATE", "CACHE")]
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        self.tmux("new-session", "-d", *size, shlex.join(["env", *homes, "COLORTERM=truecolor", *command]))
        self.tmux("set-option", "-g", "status", "off")
        self.tmux("set-option", "-sg", "escape-time", "0")

    def type(self, keys: str) -> None:
        """Presses keys; names stand in angle brackets."""
        for part in re.findall(r"<[A-Za-z-]+>|[^<]+|<", keys):
            named = len(part) > 2 and part[0] == "<"
            self.tmux("send-keys", *([part[1:-1]] if named else ["-l", part]))

    def holds(self, lua: str) -> bool:
        """Whether a Lua expression is true in Neovim; false until Neovim listens."""
        quoted = json.dumps(" ".join(lua.split()))
        command = [self.nvim, "--server", str(self.folder / "nvim"), "--remote-expr", f"luaeval({quoted})"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return answer.returncode == 0 and "true" in answer.stdout + answer.stderr

    def stop(self) -> None:
        """Ends the program, and tmux with it."""
        self.tmux("kill-server")


def editor(terminal: Terminal, file: Path, server: list[str]) -> list[str]:
    """Command line of Neovim with the plugin and nothing else of this machine's."""
    options = json.dumps({"cmd": server} if server else {})
    return [
        *(terminal.nvim, "--clean", "--listen", str(terminal.folder / "nvim")),
        *("--cmd", f"set runtimepath^={PLUGIN} {SETTINGS}"),
        *("--cmd", f"lua vim.g.starling = vim.json.decode([==[{options}]==])"),
        *("--cmd", "lua vim.keymap.set('i', '<C-j>', '<Plug>(starling-next)')"),
        str(file),
    ]


def capture(terminal: Terminal, file: Path, keys: str, server: list[str], cycle: bool) -> str:
    """What the terminal shows, with its escape sequences, once ghost text is there."""
    terminal.start(editor(terminal, file, server))
    try:
        wait_until(lambda: terminal.holds(READY), "the language server")
        terminal.type(keys)
        wait_until(lambda: terminal.holds(GHOST), "ghost text")
        if cycle:
            terminal.tmux("send-keys", "C-j")
            wait_until(lambda: "(2/" in terminal.tmux("capture-pane", "-p"), "another suggestion")
        return terminal.tmux("capture-pane", "-e", "-p", "-N")
    finally:
        terminal.stop()


def svg(screen: str, title: str) -> str:
    """The screen as a picture."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(screen), crop=True, no_wrap=True, end="")
    return console.export_svg(title=title, theme=THEME, code_format=TEMPLATE)


def find_nvim() -> str:
    """Neovim, as the editor tests find it."""
    script = ROOT / "tests" / "editors" / "install_neovim.sh"
    found = subprocess.run([script, "--find"], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise SystemExit(found.returncode)
    return found.stdout.splitlines()[-1]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("keys")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--cycle", action="store_true", help="show the next suggestion")
    parser.add_argument("server", nargs="*", help="program and arguments; starling-lsp by default")
    return parser.parse_args()


def main() -> None:
    """Takes one picture."""
    chosen = arguments()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(shutil.copy(chosen.file, folder))
        screen = capture(Terminal(Path(folder), find_nvim()), file, chosen.keys, chosen.server, chosen.cycle)
    chosen.picture.write_text(svg(screen, f"{chosen.file.name} - Neovim"), encoding="utf-8")


if __name__ == "__main__":
    main()
