"""Ghost text of the real language server in a real Neovim: what is shown is what Tab inserts.

Which text the model suggests is its own affair; the contexts are such that even the tiny base has something to say.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from editors.neovim import Editor, Ghost, Start, wait_until

from starling_lsp.documents import MAX_CHARS

HEAD = """class Settings:
    def __init__(self, host, port, user, token):
        self.host = host
        self.port = port
        self.user = user
"""


@pytest.fixture(scope="module", params=["in the server of all editors", "in serve-copilot"])
def editor(request: pytest.FixtureRequest, start_once: Start, starling_lsp_command: list[str]) -> Editor:
    """One Neovim for all tests of this module, since the model takes seconds to load, for each place of the model."""
    remote = request.param == "in serve-copilot"
    options = {"server": request.getfixturevalue("served")} if remote else {"base": "tiny", "server": "auto"}
    lua = "vim.keymap.set('i', '<C-j>', '<Plug>(starling-next)')"
    editor = start_once(starling_lsp_command, lua, enable={"*": True, "markdown": False}, **options)
    editor.open(start_once.folder / "first.py")
    editor.wait_for_status("ready")
    return editor


@pytest.fixture
def suggest(editor: Editor, tmp_path: Path) -> Iterator[Callable[..., Ghost]]:
    """Types at the end of a file until there is a suggestion."""

    def suggest(line: str = "        self.token", keys: str = " =", end: str = "\n") -> Ghost:
        file = tmp_path / "settings.py"
        file.write_bytes((HEAD + line + "\n").replace("\n", end).encode())
        editor.open(file)
        return until_ghost(editor, "GA" + keys)

    yield suggest
    editor.nvim.input("<Esc>")
    editor.nvim.command("bwipeout!")


Suggest = Callable[..., Ghost]


def until_ghost(editor: Editor, keys: str) -> Ghost:
    """Types, and types the last key anew where the answer was empty: on a busy machine the first may be."""
    for typed in (keys, *["<BS>" + keys[-1]] * 4):
        before = editor.answers
        editor.keys(typed)
        editor.wait_for_answer(before)
        if ghost := editor.ghost:
            return ghost
    pytest.fail(f"five empty answers; {editor.report}; {editor.log} may tell more")


def accept(editor: Editor, ghost: Ghost) -> list[str]:
    """Presses Tab, and waits until the buffer is what the ghost promised."""
    promised = ghost.over(editor.lines)
    editor.keys("<Tab>")
    editor.expect_lines(*promised)
    return promised


def test_tab_inserts_the_ghost_text(editor: Editor, suggest: Suggest) -> None:
    ghost = suggest()
    assert ghost.text.split("\n")[0].strip() in "".join(editor.screen)
    accept(editor, ghost)


def test_accept_after_typing_through(editor: Editor, suggest: Suggest) -> None:
    first = suggest()
    promised = first.over(editor.lines)
    before = editor.answers
    editor.keys(first.text[:2])
    editor.wait_for_answer(before)
    assert accept(editor, editor.expect_ghost(first.text[2:])) == promised


def test_accept_at_once_after_typing_through(editor: Editor, suggest: Suggest) -> None:
    ghost = suggest()
    promised = ghost.over(editor.lines)
    editor.keys(ghost.text[:2] + "<Tab>")
    editor.expect_lines(*promised)


def test_emoji_and_cjk_before_the_cursor(editor: Editor, suggest: Suggest) -> None:
    ghost = suggest(line="        self.user = '日本語😀'; self.token")
    assert "日本語😀" in accept(editor, ghost)[-1]


def test_crlf_file_stays_crlf(editor: Editor, suggest: Suggest, tmp_path: Path) -> None:
    ghost = suggest(end="\r\n")
    assert editor.nvim.current.buffer.options["fileformat"] == "dos"
    promised = accept(editor, ghost)
    editor.nvim.command("write")
    assert (tmp_path / "settings.py").read_bytes() == "".join(line + "\r\n" for line in promised).encode()


def test_nothing_to_suggest_clears_the_ghost(editor: Editor, suggest: Suggest) -> None:
    suggest()
    editor.nvim.current.buffer.append("#" * MAX_CHARS)
    editor.keys(" ")
    editor.wait_for_status("inactive")
    wait_until(lambda: editor.ghost is None, "the ghost to go")
    assert editor.ghost is None


def test_cycling_inserts_what_is_in_view(editor: Editor, suggest: Suggest) -> None:
    first = suggest()
    start = editor.lines[first.row][: first.column]
    editor.keys("<C-j>")
    counted = re.compile(r"\((\d)/(\d)\)")
    wait_until(lambda: counted.search("".join(editor.screen)), "how many there are", 60)
    ghost = editor.expect_ghost()
    text = counted.sub("", ghost.text).removesuffix(" ")
    editor.keys("<Tab>")
    wait_until(lambda: "\n".join(editor.lines[ghost.row :]) == start + text, f"{start + text!r} to be inserted")


def test_a_filetype_that_is_off_has_none(editor: Editor, tmp_path: Path) -> None:
    file = tmp_path / "read.md"
    file.write_text(HEAD + "        self.token\n")
    editor.open(file)
    before = editor.answers
    editor.keys("GA =")
    editor.wait_for_answer(before)
    assert editor.ghost is None
    editor.keys("<Esc>")
    assert "Suggestions are off for markdown." in editor.report
    editor.nvim.command("bwipeout!")


def test_the_health_check_is_clean(editor: Editor, suggest: Suggest) -> None:
    suggest()
    editor.keys("<Esc>")
    editor.nvim.command("checkhealth starling")
    text = "\n".join(editor.lines)
    assert "ERROR" not in text, text
    assert "WARNING" not in text, text
    assert re.search(r"starling-lsp \S+, base tiny, adapter none, on (cpu|cuda|http)", text), text
    editor.nvim.command("quit")
