"""The page at `/` in a real Chromium, driven as a person would: keys in, and what is on the screen out."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

REPOSITORY = Path(__file__).parents[3]
SOURCES, BUILT = REPOSITORY / "server" / "page", REPOSITORY / "server" / "starling_server" / "page"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
CODE = "".join(f"item_{n} = make_item({n})\n" for n in range(12))


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("STARLING_REQUIRE_EDITORS") == "1":
            pytest.fail("there is no Chromium")
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(served: str, chromium: Browser) -> Generator[Page]:
    """The page under the policy that it is meant to be served with; nothing from elsewhere, no error in its console."""
    context = chromium.new_context(viewport={"width": 1100, "height": 640})
    page = context.new_page()
    page.set_default_timeout(30_000)
    trouble, elsewhere = list[str](), list[str]()
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(served) else elsewhere.append(request.url))
    page.route(f"{served}/", _with_policy)
    page.goto(served)
    expect(page.locator("#status")).not_to_have_text("Starting…", timeout=30_000)  # waiting by script needs eval
    yield page
    context.close()
    assert (trouble, elsewhere) == ([], [])


def _with_policy(route: Route) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": POLICY})


def text(page: Page) -> str:
    """The document, as its lines are on the screen, without the ghost text."""
    lines: list[str] = page.evaluate("""() => {
        const root = document.getElementById('editor').shadowRoot;
        return [...root.querySelectorAll('.cm-line')].map((line) => {
            const copy = line.cloneNode(true);
            copy.querySelectorAll('.ghost').forEach((ghost) => ghost.remove());
            return copy.textContent;
        });
    }""")
    return "\n".join(lines)


def write(page: Page, code: str) -> str:
    """Put `code` in place of everything, the last character by a key, and wait for the ghost text."""
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")  # over coloured text Chromium would write inline styles, which the policy reports
    page.keyboard.insert_text(code[:-1])
    page.keyboard.type(code[-1])
    page.locator(".ghost").wait_for()
    return page.locator(".ghost").inner_text()


def test_tab_takes_the_ghost_text(page: Page) -> None:
    ghost = write(page, CODE + "item_12 = make")
    assert ghost.startswith("_item")
    assert "item_12 = make" in text(page)
    page.keyboard.press("Tab")
    assert text(page).endswith("item_12 = make" + ghost)


def test_a_word_then_typing_along_then_escape(page: Page) -> None:
    ghost = write(page, "for index, value in enumerate(values):\n    pass\n" * 6 + "for index")
    page.keyboard.press("Control+ArrowRight")
    taken = text(page).rpartition("for index")[2]
    assert taken
    assert ghost.startswith(taken)
    rest = page.locator(".ghost").inner_text()
    assert taken + rest == ghost
    page.keyboard.type(rest[0])
    assert page.locator(".ghost").inner_text() == rest[1:]
    page.keyboard.press("Escape")
    assert page.locator(".ghost").count() == 0
    assert text(page).endswith(taken + rest[0])


def test_the_prompt_and_the_timings_are_shown(page: Page) -> None:
    write(page, CODE + "item_13 = make")
    prompt = page.locator("#prompt")
    assert prompt.inner_text().startswith("<fim_prefix><fim_suffix><fim_middle>")
    assert prompt.inner_text().endswith("item_13 = make")
    assert "tokens" in page.locator("#timings").inner_text()


def test_keys_alone_reach_everything(page: Page) -> None:
    page.keyboard.press("Control+m")
    assert page.evaluate("document.activeElement.id") == "adapter"
    found = list[str]()
    for _ in range(3):
        page.keyboard.press("Tab")
        found.append(page.evaluate("document.activeElement.id"))
    assert found == ["language", "mode", "editor"]


def test_mode_and_language_go_with_the_request(page: Page) -> None:
    def asks(**fields: str) -> Callable[[Request], bool]:
        return lambda request: fields.items() <= (request.post_data_json or {}).items()

    with page.expect_request(asks(mode="line", language="python")):
        page.get_by_label("Suggest").select_option("line")
    with page.expect_request(asks(mode="line", language="rust")):
        page.get_by_label("Language").select_option("rust")


def test_a_token_is_asked_for_and_kept_in_the_tab(served: str, chromium: Browser) -> None:
    """As a server with tokens answers: 401 to what brings none."""

    def guarded(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer let-me-in":
            route.continue_()
        else:
            route.fulfill(status=401, json={"type": "", "title": "", "status": 401, "detail": "Send a token."})

    context = chromium.new_context()
    page = context.new_page()
    for path in ("ready", "complete", "v1/events"):
        page.route(f"{served}/{path}", guarded)
    page.goto(served)
    page.get_by_role("textbox", name="Token").fill("let-me-in")
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("Ready").wait_for()
    assert page.evaluate("sessionStorage.getItem('starling-token')") == "let-me-in"
    assert page.evaluate("localStorage.length") == 0
    context.close()


def test_what_is_bundled_is_what_the_sources_say() -> None:
    """`make page` writes down what it was built from; a source that changed since wants another build."""
    record = json.loads((BUILT / "built.json").read_text(encoding="utf-8"))
    names = ["package-lock.json", "package.json", "tsconfig.json"]
    names += [f"src/{file.name}" for file in SOURCES.glob("src/*")]
    assert record["sources"] == {name: hashlib.sha256((SOURCES / name).read_bytes()).hexdigest() for name in names}
    assert record["page.js"] == hashlib.sha256((BUILT / "page.js").read_bytes()).hexdigest()


def test_the_files_come_with_their_types(served: str) -> None:
    for path, kind in (("/", "text/html"), ("/page/page.js", "text/javascript"), ("/page/page.css", "text/css")):
        answer = httpx2.get(served + path, trust_env=False)
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)


def test_what_is_built_is_part_of_the_package() -> None:
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", str(BUILT)], capture_output=True, text=True, check=True
    )
    assert {Path(line).name for line in listed.stdout.splitlines()} >= {"index.html", "page.js", "page.css"}
