"""The process that parses: a text takes as much time and memory as its size allows, or the process ends.

tree-sitter's recovery from errors takes the square of a text's length in both: 25,000 characters of `%w(%q(%Q(` took
3 seconds and 900 MB as C. Its own limit is asked for too rarely to hold it. So it runs where it can be ended.

Run by path, never imported by who asks (`parser_client`): it needs nothing but tree-sitter. A request is a line of
JSON, and behind it a text; the answer is a line of JSON. The end of its input is its own.
"""

import faulthandler
import json
import os
import signal
import sys
from importlib import import_module
from typing import Any

from tree_sitter import Language, Node, Parser, Tree

SECONDS, MEMORY = 0.15, 64 << 20
"""Of the processor, and bytes beside what the process had before, for a text up to 37 kB: ten times what the slowest of
some thousand files of that size took, with errors and all."""
SECONDS_PER_BYTE, MEMORY_PER_BYTE = 4e-6, 250
"""For larger texts. Files of eleven languages took 2e-7 (median) and 2.4e-6 (C++ read as C), and 20 to 230 bytes."""
QUESTION_SECONDS = 0.05
"""Of the processor, for one question about a tree; a larger text's has the time of its parsing."""
WALL = 6
"""Seconds on the clock for each of the processor's: others may be at work, and not every system counts the latter."""
Kinds = list[tuple[str, int, int]]


class Trees:
    """The parsers that were asked for, and the last text's tree."""

    def __init__(self) -> None:
        self._parsers = dict[str, Parser]()
        self._tree: Tree | None = None
        self._size = 0

    def parse(self, package: str, function: str, text: bytes) -> bool:
        """Parse `text` by the grammar that `package.function()` gives: whether there is no error in it."""
        self._tree = None
        if package not in self._parsers:
            grammar: object = getattr(import_module(package), function)()
            self._parsers[package] = Parser(Language(grammar))
            self._size = _size()
        _limit_memory(self._size and self._size + max(MEMORY, MEMORY_PER_BYTE * len(text)))
        self._tree = self._parsers[package].parse(text)
        return not self._tree.root_node.has_error

    def kinds(self, byte: int) -> Kinds:
        """Type, begin and end (bytes) of the named nodes that hold `byte`, innermost first, without the root."""
        assert self._tree is not None
        root = self._tree.root_node
        node = root.named_descendant_for_byte_range(byte, byte + 1)
        path = _path(root, node) if node is not None else []
        return [(each.type, each.start_byte, each.end_byte) for each in reversed(path)]


def _path(root: Node, node: Node) -> list[Node]:
    """The nodes from the root, left out, down to `node`: one way down, as `Node.parent` takes for each."""
    path, inner = list[Node](), root
    while inner.id != node.id:
        inner = inner.child_with_descendant(node) or node
        path.append(inner)
    return path


def serve() -> None:
    """Answer until the input ends."""
    trees, given, out = Trees(), sys.stdin.buffer, sys.stdout.buffer
    _answer(out, "ready")
    while line := given.readline():
        request: dict[str, Any] = json.loads(line)
        text = given.read(request.get("size", 0))
        is_asked = "byte" in request
        _limit_time(max(QUESTION_SECONDS if is_asked else SECONDS, SECONDS_PER_BYTE * request["of"]))
        if is_asked:
            _answer(out, trees.kinds(request["byte"]))
        else:
            _answer(out, trees.parse(request["package"], request["function"], text))
        _limit_time(0)


def _answer(out: Any, what: object) -> None:
    out.write(json.dumps(what).encode() + b"\n")
    out.flush()


def _limit_time(seconds: float) -> None:
    """End this process after so much work, unless this is called before; nought takes the limit away.

    Every way works while C code runs and holds the interpreter; the timers' signals end a process that says nothing
    else.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, WALL * seconds)
    elif seconds:
        faulthandler.dump_traceback_later(WALL * seconds, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def _limit_memory(size: int) -> None:
    """Let no more than `size` bytes be mapped, where that is known: tree-sitter ends the process that gets no more."""
    if size:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _size() -> int:
    """Bytes that this process has mapped, nought where that is not known."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main() -> None:
    """What only a process of its own may set, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve()


if __name__ == "__main__":
    main()
