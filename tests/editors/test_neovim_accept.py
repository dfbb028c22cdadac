"""What the plugin does with suggestions, against a scripted language server: no model, the same each time."""

import pytest
from editors.neovim import wait_until
from editors.scripted import SCRIPT, Begin


def test_ghost_text_is_drawn_and_tab_inserts_it(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    assert session.editor.screen[0] == "foo_bar"
    session.editor.keys("<Tab>")
    session.editor.expect_lines("foo_bar")
    assert session.editor.ghost is None
    assert session.wait_for("accepted") == [{"id": "1", "suffix": 0}]


def test_typing_goes_on_after_what_was_accepted(begin: Begin) -> None:
    session = begin("", {"def area(w, h):": SCRIPT["def area(w, h):"]})
    session.editor.keys("idef area(w, h):")
    ghost = session.editor.expect_ghost()
    assert ghost.text == "\n    size = w * h\n    return size"
    session.editor.keys("<Tab>")
    session.editor.expect_lines("def area(w, h):", "    size = w * h", "    return size")
    session.editor.keys(" + 1")
    session.editor.expect_lines("def area(w, h):", "    size = w * h", "    return size + 1")


def test_accept_after_typing_through(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    before = session.editor.answers
    session.editor.keys("o_")
    session.editor.wait_for_answer(before)
    assert session.logged("answer")[-1] == ["bar"]
    session.editor.expect_ghost("bar")
    session.editor.keys("<Tab>")
    session.editor.expect_lines("foo_bar")


def test_accept_at_once_after_typing_through(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("o<Tab>")
    session.editor.expect_lines("foo_bar")
    assert session.logged("answer")[-1] == ["o_bar"]


def test_keys_after_tab_come_after_what_it_accepted(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("o<Tab>!")
    session.editor.expect_lines("foo_bar!")


def test_suffix_is_replaced(begin: Begin) -> None:
    session = begin("x = call()")
    session.editor.keys("f)i")
    assert session.editor.expect_ghost("alpha, beta)").covers
    session.editor.keys("<Tab>")
    session.editor.expect_lines("x = call(alpha, beta)")
    assert session.wait_for("accepted") == [{"id": "1", "suffix": 1}]


def test_suffix_is_replaced_at_once_after_typing_through(begin: Begin) -> None:
    session = begin("x = call()")
    session.editor.keys("f)i")
    session.editor.expect_ghost("alpha, beta)")
    session.editor.keys("al<Tab>")
    session.editor.expect_lines("x = call(alpha, beta)")


@pytest.mark.parametrize(("encoding", "suffix"), [("utf-8", 11), ("utf-16", 9), ("utf-32", 8)])
def test_suffix_is_counted_in_the_units_agreed_on(begin: Begin, encoding: str, suffix: int) -> None:
    lua = f"vim.lsp.config('starling', {{capabilities = {{general = {{positionEncodings = {{'{encoding}'}}}}}}}})"
    session = begin("pair = ('', '😀')", lua=lua)
    session.editor.keys("f(a")
    session.editor.expect_ghost("一', '😀')")
    session.editor.keys("'<Tab>")
    session.editor.expect_lines("pair = ('一', '😀')")
    assert session.wait_for("accepted") == [{"id": "1", "suffix": suffix}]


def test_word_by_word(begin: Begin) -> None:
    session = begin("x = call()")
    session.editor.keys("f)i")
    session.editor.expect_ghost("alpha, beta)")
    for seen, rest in (("alpha", ", beta)"), ("alpha,", " beta)"), ("alpha, beta", ")")):
        session.editor.keys("<C-Right>")
        session.editor.expect_lines(f"x = call({seen})")
        if rest != ")":
            session.editor.expect_ghost(rest)
    assert session.wait_for("partial")[0] == {"text": "alpha, beta)", "length": 5}
    assert session.logged("accepted") == []


def test_line_by_line(begin: Begin) -> None:
    session = begin()
    session.editor.keys("idef area(w, h):")
    session.editor.expect_ghost()
    session.editor.keys("<C-l>")
    session.editor.expect_lines("def area(w, h):", "    size = w * h")


def test_tab_is_tab_without_a_suggestion(begin: Begin) -> None:
    session = begin()
    session.editor.keys("iquux<Tab>y")
    session.editor.expect_lines("quux    y")


def test_tab_is_tab_once_the_cursor_left_the_line(begin: Begin) -> None:
    session = begin("\nsecond")
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("<Down><Tab>x")
    session.editor.expect_lines("fo", "se  xcond")


def test_tab_is_tab_once_the_typed_text_disagrees(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("x<Tab>y")
    session.editor.expect_lines("fox y")


def test_nothing_to_suggest_clears_the_ghost(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("x")
    wait_until(lambda: session.editor.ghost is None, "the ghost to go")
    assert session.logged("answer")[-1] == []
    assert session.editor.screen[0] == "fox"


def test_emoji_and_cjk_before_the_cursor(begin: Begin) -> None:
    session = begin()
    session.editor.keys("i日本 = '😀' + ")
    session.editor.expect_ghost("'語' * 2")
    session.editor.keys("'<Tab>")
    session.editor.expect_lines("日本 = '😀' + '語' * 2")


def test_crlf_file_stays_crlf(begin: Begin) -> None:
    session = begin("import os\r\n\r\nlast = 1\r\n")
    assert session.editor.nvim.current.buffer.options["fileformat"] == "dos"
    session.editor.keys("jidef area(w, h):")
    session.editor.expect_ghost()
    session.editor.keys("<Tab>")
    whole = ["import os", "def area(w, h):", "    size = w * h", "    return size", "last = 1"]
    session.editor.expect_lines(*whole)
    session.editor.nvim.command("write")
    assert session.file.read_bytes() == "".join(line + "\r\n" for line in whole).encode()


def test_each_buffer_has_suggestions_of_its_own(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.nvim.command("stopinsert | write")
    session.editor.open(session.file.with_name("other.py"))
    session.editor.keys("icall(")
    session.editor.expect_ghost("alpha, beta)")
    session.editor.keys("<Tab><Esc>")
    session.editor.expect_lines("call(alpha, beta)")
    session.editor.open(session.file)
    session.editor.keys("A<C-g>u")
    session.editor.expect_ghost("o_bar")


def test_language_server_that_was_started_anew(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("<Esc>")
    session.editor.nvim.exec_lua("vim.lsp.enable('starling', false)")
    wait_until(lambda: session.editor.nvim.exec_lua("return #vim.lsp.get_clients() == 0"), "its end")
    session.editor.nvim.exec_lua("vim.lsp.enable('starling')")
    session.editor.wait_for_status("ready")
    session.editor.keys("ofo")
    session.editor.expect_ghost("o_bar")
    session.editor.keys("<Tab>")
    session.editor.expect_lines("fo", "foo_bar")


def test_language_server_that_died(begin: Begin) -> None:
    session = begin()
    session.editor.keys("ifo")
    session.editor.expect_ghost("o_bar")
    session.editor.nvim.exec_lua("vim.lsp.get_clients()[1]:stop(true)")
    wait_until(lambda: session.editor.nvim.exec_lua("return #vim.lsp.get_clients() == 0"), "its end")
    wait_until(lambda: session.editor.ghost is None, "the ghost to go")
    session.editor.keys("x<Tab>y")
    session.editor.expect_lines("fox y")
    assert session.editor.nvim.exec_lua("return require('starling').status()") == "starling: error"


def test_buffer_without_a_name_starts_nothing(begin: Begin) -> None:
    session = begin()
    session.editor.nvim.command("enew")
    session.editor.nvim.command("help starting")
    attached = "return #vim.lsp.get_clients({bufnr = 0})"
    assert session.editor.nvim.exec_lua(attached) == 0
    assert session.editor.nvim.exec_lua("return #vim.lsp.get_clients()") == 1


def test_status_is_shown(begin: Begin) -> None:
    session = begin()
    session.editor.wait_for_status("ready")
    assert session.editor.report == "Starling: ready, base scripted, at your service"


def test_options_become_flags(begin: Begin) -> None:
    session = begin(base="tiny", adapter="acme", server="http://127.0.0.1:1")
    command = session.editor.nvim.exec_lua("return require('starling.options').command()")
    assert command[-6:] == ["--base", "tiny", "--adapter", "acme", "--server", "http://127.0.0.1:1"]


def test_unknown_option_is_named(begin: Begin) -> None:
    session = begin()
    tried = session.editor.nvim.exec_lua("return {pcall(require('starling').setup, {modle = 'x'})}")
    assert tried == [
        False,
        'starling: unknown option "modle"; known are cmd, enable, trigger_mode, init_options, base, adapter, server',
    ]
