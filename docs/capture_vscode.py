"""A picture of a real VS Code showing real ghost text, as PNG.

    python docs/capture_vscode.py FILE KEYS PICTURE [--dark]

opens a copy of FILE in VS Code as the tests have it (`tests/editors/install_vscode.sh`, `make vsix`), types KEYS at its
end, and writes what the window shows once there is ghost text.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from editors.vscode import Code, Host  # noqa: E402 - after the path above
from playwright.sync_api import sync_playwright  # noqa: E402


def main() -> None:
    """Open, type, wait, take the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("keys")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dark", action="store_true")
    asked = parser.parse_args()
    install = ROOT / "tests" / "editors" / "install_vscode.sh"
    root = subprocess.run([install], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    host = Host(Path(root), ROOT / "editor-configs" / "vscode" / "starling.vsix")
    settings = {
        "starling.serverPath": str(Path(sys.executable).with_name("starling-lsp")),
        "workbench.colorTheme": "Default Dark Modern" if asked.dark else "Default Light Modern",
        "workbench.activityBar.location": "hidden",
    }
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        code = Code(host, playwright, Path(home), settings)
        with code.ends:
            code.wait_for_status("is ready")
            code.open(asked.file.name, asked.file.read_text(encoding="utf-8"))
            code.page.keyboard.type(asked.keys, delay=60)
            code.wait_for_ghost(asked.keys[-1])
            code.screenshot(asked.picture)


if __name__ == "__main__":
    main()
