"""Pictures of the page at `/` with real ghost text, light and dark, as PNG.

    python docs/capture_page.py KEYS FOLDER

starts serve-copilot with the bundled base, opens its page in Chromium, types KEYS at the end of the page's own example,
and writes page-light.png and page-dark.png once there is ghost text.
"""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.relay import serve


def main() -> None:
    """Serve, open, type, wait, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys")
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with serve() as url, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for dark in (False, True):
            _capture(chromium, url, asked.keys, asked.folder / f"page-{'dark' if dark else 'light'}.png", dark)
        chromium.close()


def _capture(chromium: Browser, url: str, keys: str, picture: Path, dark: bool) -> None:
    page = chromium.new_page(viewport={"width": 1100, "height": 640}, color_scheme="dark" if dark else "light")
    page.goto(url)
    page.locator("#status", has_text="Starting").wait_for(state="detached")
    page.keyboard.type(keys, delay=60)
    page.locator(".ghost").wait_for()
    page.locator("#timings dd").first.wait_for()
    page.screenshot(path=picture)
    page.close()


if __name__ == "__main__":
    main()
