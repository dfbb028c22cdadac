"""The parser process: it ends if a text needs more time or memory than the limit for its size.

tree-sitter's error recovery is quadratic in time and memory: 25,000 characters of `%w(%q(%Q(` took 3 seconds and 900 MB
as C. tree-sitter checks its own time limit too rarely to be effective, so it runs in a process that can be killed.

The file is run by path and never imported by its client (`parser_client`); it depends on tree-sitter only. A request is
a line of JSON followed by a text; the response is a line of JSON. The process exits at the end of its input.
"""

import faulthandler
import json
import os
import signal
import sys
from importlib import import_module
from typing import Any

from tree_sitter import Language, Node, Parser, Query, QueryCursor, Tree

SECONDS, MEMORY = 0.15, 64 << 20
"""Limits for a text up to 37 kB: CPU seconds, and bytes on top of the process's size before. Ten times the max of about
a thousand files of that size, files with errors included."""
SECONDS_PER_BYTE, MEMORY_PER_BYTE = 4e-6, 250
"""Limits for larger texts. Measured per byte, files of eleven languages: 2e-7 s (median), 2.4e-6 s (C++ read as C), and
20 to 230 bytes."""
QUESTION_SECONDS = 0.05
"""CPU limit of one query on a tree; for a larger text, the query has the same limit as parsing."""
WALL = 6
"""Wall-clock seconds per CPU second of a limit: the machine may be busy, and not every system can limit CPU time."""
MOST_MATCHES = 4_000
"""Max matches of a query; a file of 1 MB has fewer definitions."""
Kinds = list[tuple[str, int, int]]
Match = dict[str, tuple[int, int]]
"""Begin and end, in bytes, of the first node of each capture."""


class Trees:
    """The parsers used so far, and the tree of the last text."""

    def __init__(self) -> None:
        self._parsers = dict[str, Parser]()
        self._queries = dict[str, Query]()
        self._tree: Tree | None = None
        self._size = 0

    def parse(self, package: str, function: str, text: bytes) -> bool:
        """Parse `text` with the grammar of `package.function()`; returns whether it has no syntax error."""
        self._tree = None
        if package not in self._parsers:
            grammar: object = getattr(import_module(package), function)()
            self._parsers[package] = Parser(Language(grammar))
            self._size = _size()
        _limit_memory(self._size and self._size + max(MEMORY, MEMORY_PER_BYTE * len(text)))
        self._tree = self._parsers[package].parse(text)
        return not self._tree.root_node.has_error

    def kinds(self, byte: int) -> Kinds:
        """Type, begin and end (in bytes) of the named nodes around `byte`, innermost first, without the root."""
        assert self._tree is not None
        root = self._tree.root_node
        node = root.named_descendant_for_byte_range(byte, byte + 1)
        path = _path(root, node) if node is not None else []
        return [(each.type, each.start_byte, each.end_byte) for each in reversed(path)]

    def matches(self, query: str) -> list[Match]:
        """The matches of `query`, a tree-sitter query for the tree's language, in the order of the text."""
        assert self._tree is not None
        if query not in self._queries:
            self._queries[query] = Query(self._tree.language, query)
        cursor = QueryCursor(self._queries[query], match_limit=MOST_MATCHES)
        found = cursor.matches(self._tree.root_node)[:MOST_MATCHES]
        return [{name: nodes[0].byte_range for name, nodes in named.items()} for _, named in found]


def _path(root: Node, node: Node) -> list[Node]:
    """The nodes from below the root down to `node`, in one descent; each `Node.parent` would descend from the root."""
    path, inner = list[Node](), root
    while inner.id != node.id:
        inner = inner.child_with_descendant(node) or node
        path.append(inner)
    return path


def serve() -> None:
    """Serve requests until the input ends."""
    trees, given, out = Trees(), sys.stdin.buffer, sys.stdout.buffer
    _answer(out, "ready")
    while line := given.readline():
        request: dict[str, Any] = json.loads(line)
        text = given.read(request.get("size", 0))
        is_asked = "byte" in request
        _limit_time(max(QUESTION_SECONDS if is_asked else SECONDS, SECONDS_PER_BYTE * request["of"]))
        if is_asked:
            _answer(out, trees.kinds(request["byte"]))
        elif "query" in request:
            _answer(out, trees.matches(request["query"]))
        else:
            _answer(out, trees.parse(request["package"], request["function"], text))
        _limit_time(0)


def _answer(out: Any, what: object) -> None:
    out.write(json.dumps(what).encode() + b"\n")
    out.flush()


def _limit_time(seconds: float) -> None:
    """End this process after `seconds` of CPU time, or `WALL` times that on the clock; 0 removes the limit.

    Each mechanism works while C code holds the GIL: the default action of the timers' signals ends the process.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, WALL * seconds)
    elif seconds:
        faulthandler.dump_traceback_later(WALL * seconds, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def _limit_memory(size: int) -> None:
    """Limit mapped memory to `size` bytes, if known: tree-sitter ends the process when an allocation fails."""
    if size:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _size() -> int:
    """Bytes mapped by this process; 0 if unknown."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main() -> None:
    """Set options of the whole process, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve()


if __name__ == "__main__":
    main()
