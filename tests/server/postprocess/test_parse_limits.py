"""No text ends the process that serves or trains: what a parser may take is bounded, and less decides without it.

STARLING_FUZZ_TEXTS says how many texts; every fragment in every language are some 5,100.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random

import psutil
import pytest
from support.serving import Server, serving
from tree_sitter import Language, Node, Parser

from starling_server.postprocess import parser_client
from starling_server.postprocess.completion_scope import Around, decide, look_around
from starling_server.postprocess.parser_client import Client, Source
from starling_server.postprocess.syntax import GRAMMARS, parse
from starling_server.prompt.cursor import Cursor
from starling_training.examples.spans import draw
from starling_training.scoring.metrics import parses

TESTS = Path(__file__).parents[2]
TEXTS = int(os.environ.get("STARLING_FUZZ_TEXTS", "80"))
HOSTILE = "a=>" * 16_000
PATIENCE = 60


def test_every_text_is_parsed_or_refused_within_bounds() -> None:
    """Bounds with room: a parse ends after 0.15 s of work and 64 MB, and Python itself takes some."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS)])}
    command = [sys.executable, "-m", "support.fragments", str(TEXTS)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60 + 5 * TEXTS)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["seconds"][0] < 1, found
    assert found["bytes"] < 150_000_000, found


@pytest.mark.timeout(120)
def test_a_server_answers_a_hostile_request_and_the_next(tmp_path: Path) -> None:
    with serving(tmp_path) as server, server.client() as http:
        _wait(lambda: http.get("/ready").status_code == 200)
        ask = {"prefix": HOSTILE, "language": "java", "max_tokens": 8}
        assert http.post("/complete", json=ask, timeout=PATIENCE).status_code == 200
        before = _resident(server)
        for body in (ask, {"prefix": "class A {\n    int f() {\n        return ", "language": "java", "max_tokens": 8}):
            assert http.post("/complete", json=body, timeout=PATIENCE).status_code == 200
        assert _resident(server) < before + 100_000_000


def test_without_a_tree_indentation_decides() -> None:
    assert look_around(HOSTILE, "", "Java") == Around()
    for suffix in ("", ")\n"):
        assert decide(Cursor.at(HOSTILE, suffix), "java") == decide(Cursor.at(HOSTILE, suffix), None)


def test_training_and_judging_take_the_file_as_one_without_a_tree() -> None:
    text = "\n".join(["a=>" * 300] * 50)
    drawn = draw(text, 20, Random(0), lambda span: True, "Java")
    assert drawn == draw(text, 20, Random(0), lambda span: True, None)
    assert parses(text, "Java") is None


@pytest.mark.parametrize("language", GRAMMARS)
def test_the_way_down_is_the_way_up(language: str, source: str) -> None:
    """Python reads as nothing else does: errors, and what recovery makes of them, are part of it."""
    package, function = GRAMMARS[language]
    text = source[:4_000] + "é" * 3 + "\n-!~-!~(((a"
    grammar: object = getattr(import_module(package), function)()
    tree = Parser(Language(grammar)).parse(text.encode())
    parsed = parse(text, language)
    assert parsed is not None
    assert parsed.whole is not tree.root_node.has_error
    for at in range(0, len(text), 7):
        byte = len(text[:at].encode())
        assert parsed.kinds(at) == _upwards(tree.root_node.named_descendant_for_byte_range(byte, byte + 1), text)


def _upwards(node: Node | None, text: str) -> list[tuple[str, int, int]]:
    found = list[tuple[str, int, int]]()
    while node is not None and node.parent is not None:
        begin, end = (len(text.encode()[:byte].decode()) for byte in node.byte_range)
        found.append((node.type, begin, end))
        node = node.parent
    return found


def test_another_process_follows_one_that_ended() -> None:
    parsed = parse("int f() { return a; }", "C")
    assert parsed is not None
    before = parsed.kinds(17)
    process = _process()
    process.kill()
    process.wait()
    assert parsed.kinds(17) == before
    assert _process().pid != process.pid


def test_texts_take_turns() -> None:
    one, two = parse("int a = 1;", "C"), parse("b = [1]\n", "Python")
    assert one is not None
    assert two is not None
    for _ in range(2):
        assert one.kinds(8)[0] == ("number_literal", 8, 9)
        assert two.kinds(5)[0] == ("integer", 5, 6)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork_has_a_process_of_its_own() -> None:
    parsed = parse("int a = 1;", "C")
    assert parsed is not None
    program = (
        "import os\nfrom starling_server.postprocess.syntax import parse\n"
        "one = parse('int a = 1;', 'C')\nchild = os.fork()\n"
        "two = parse('b = [1]', 'Python')\nfound = one.kinds(8)[0], two.kinds(5)[0]\n"
        "assert found == (('number_literal', 8, 9), ('integer', 5, 6)), found\n"
        "if not child: os._exit(0)\nassert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=PATIENCE)


def test_it_ends_with_whom_it_parses_for() -> None:
    program = (
        "import os, signal, psutil\nfrom starling_server.postprocess.syntax import parse\n"
        "parse('a', 'C')\nprint(psutil.Process().children()[0].pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert ran.returncode == -signal.SIGKILL
    _wait(lambda: not psutil.pid_exists(int(ran.stdout)))


def test_where_no_process_can_be_had_there_are_no_trees(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert client.parse(Source(*GRAMMARS["C"], b"int a;")) is None
    assert [record.message for record in caplog.records] == [
        "Syntax trees are unavailable (No such file or directory): suggestions end by indentation alone."
    ]


def test_one_that_cannot_import_tree_sitter_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "tree_sitter.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    client = Client()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert client.parse(Source(*GRAMMARS["C"], b"int a;")) is None
    assert len(caplog.records) == 1
    assert "ended while it imported tree-sitter" in caplog.text


def _process() -> psutil.Process:
    """The one that parses for us."""
    (found,) = (each for each in psutil.Process().children() if str(parser_client.PROCESS) in each.cmdline())
    return found


def _resident(server: Server) -> int:
    process = psutil.Process(server.process.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
