"""Cycling, dismissing, asking by hand, switching off, and servers that end, against a scripted language server."""

import os
import signal

import pytest
from editors.neovim import Editor, wait_until
from editors.scripted import Begin

KEYS = """
for key, name in pairs({['<C-j>'] = 'next', ['<C-k>'] = 'prev', ['<C-x>'] = 'dismiss', ['<C-g>'] = 'trigger'}) do
  vim.keymap.set('i', key, '<Plug>(starling-' .. name .. ')')
end
"""

PATIENT = "vim.o.messagesopt = 'wait:0,history:500'"
"""Neovim reports a server's end in a line longer than these terminals, and would wait for Enter."""


def gone(editor: Editor) -> None:
    wait_until(lambda: editor.ghost is None, "the ghost to go")


def ghosts_as_drawn(editor: Editor, text: str) -> None:
    """While cycling Neovim writes which of how many behind the ghost text."""
    wait_until(lambda: text in editor.screen[0], f"{text!r} on the screen in place of {editor.screen[0]!r}")


def test_cycling_through_three(begin: Begin) -> None:
    session = begin(lua=KEYS)
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    for key, seen in (("<C-j>", "foo_bar2 (2/3)"), ("<C-j>", "foo_bar3 (3/3)"), ("<C-j>", "foo_bar (1/3)")):
        session.editor.keys(key)
        ghosts_as_drawn(session.editor, seen)
    session.editor.keys("<C-k>")
    ghosts_as_drawn(session.editor, "foo_bar3 (3/3)")
    session.editor.keys("<Tab>")
    session.editor.expect_lines("foo_bar3")
    assert session.wait_for("accepted") == [{"id": "3", "suffix": 0}]


def test_dismissed_until_something_is_typed(begin: Begin) -> None:
    session = begin(lua=KEYS)
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    assert session.wait_for("shown") == ["1"]
    session.editor.keys("<C-x>")
    gone(session.editor)
    session.editor.keys("<Tab>")
    session.editor.expect_lines("fo  ")
    session.editor.keys("<BS>")
    session.editor.expect_ghost("o_bar")


def test_asking_by_hand(begin: Begin) -> None:
    session = begin(lua=KEYS)
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("<C-x>")
    gone(session.editor)
    session.editor.keys("<C-g>")
    session.editor.expect_ghost("o_bar")
    assert session.logged("answer")[-1] == ["o_bar", "o_bar2", "o_bar3"]


def test_toggling(begin: Begin) -> None:
    session = begin()
    editor = session.editor
    editor.nvim.command("StarlingToggle")
    assert editor.nvim.exec_lua("return require('starling').status()") == "starling: off"
    before = len(session.logged("answer"))
    editor.keys("ifo<Esc>")
    editor.nvim.command("StarlingToggle")
    editor.keys("A")
    editor.expect_ghost("o_bar")
    assert len(session.logged("answer")) == before + 1, "nothing was asked while it was off"
    editor.keys("<Esc>")
    editor.nvim.command("StarlingToggle!")
    editor.keys("A<Tab>")
    editor.expect_lines("fo  ")


def test_nothing_while_a_selection_is_there(begin: Begin) -> None:
    session = begin("fo\n")
    session.editor.keys("gh")
    before = len(session.logged("answer"))
    session.editor.keys("<Right>")
    assert session.editor.nvim.api.get_mode()["mode"] == "s"
    assert session.editor.ghost is None
    assert len(session.logged("answer")) == before


def test_a_killed_server_comes_back(begin: Begin) -> None:
    session = begin(lua=PATIENT)
    editor = session.editor
    editor.keys("ifo")
    editor.expect_ghost("o_bar")
    [first] = session.logged("started")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: "started again in 1 s" in editor.report, "the status to say so")
    editor.keys("<Esc>")
    [_, second] = wait_until(lambda: session.logged("started")[1:] and session.logged("started"), "another server")
    assert second != first
    editor.wait_for_status("ready")
    editor.keys("cc")
    editor.keys("fo")
    editor.expect_ghost("o_bar")
    editor.keys("<Tab>")
    editor.expect_lines("foo_bar")


def test_undo_and_redo_in_a_hurry(begin: Begin) -> None:
    session = begin("x = 1\n")
    session.editor.keys("Gofo<Esc>" + "u<C-r>" * 40)
    session.editor.expect_lines("x = 1", "fo")
    session.editor.keys("GA")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("<Tab>")
    session.editor.expect_lines("x = 1", "foo_bar")


def test_the_health_check(begin: Begin) -> None:
    session = begin()
    editor = session.editor
    editor.keys("ifo")
    editor.expect_ghost("o_bar")
    editor.keys("<Esc>")
    editor.nvim.command("checkhealth starling")
    text = "\n".join(editor.lines)
    assert "ERROR" not in text, text
    assert "WARNING" not in text, text
    for said in ("Language server: ready", "base scripted, adapter none, on paper", "Inline completion is on", "Tab"):
        assert said in text


@pytest.mark.parametrize("command", [["/nowhere/starling-lsp"], ["false"]])
def test_a_server_that_is_missing_or_ends_at_once(begin: Begin, command: list[str]) -> None:
    """Neovim stays usable, and the health check says what is wrong."""
    editor = begin(lua=PATIENT, command=command).editor
    editor.keys("ihello<Esc>")
    editor.expect_lines("hello")
    editor.nvim.command("checkhealth starling")
    text = "\n".join(editor.lines)
    assert "No language server runs" in text
    assert ("is not there or not executable" in text) == (command[0] != "false")
