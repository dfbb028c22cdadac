"""Every message that a user can get, listed from the source: errors, problem documents, warnings, an editor's status.

    python benchmarks/messages.py [--root CHECKOUT] [--kind NAME]

A line is `file:line`, the kind and the text, with `{}` for what is filled in. Kinds are the classes of errors and the
calls that show or log a text. A text that another function builds is listed where it is built. The last line is JSON:
messages in total and per kind. It is here and not in the tests because it measures no behaviour: it is a reading list
for a review of wording.
"""

import argparse
import ast
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("server/starling_server", "training/starling_training", "lsp/starling_lsp")
FURTHER = frozenset({"Unfit", "GaveUp", "PydanticCustomError", "RemoteProtocolError", "HTTPException", "ValueError"})
"""Classes outside of `errors` whose text reaches a user: most ValueErrors become an entry of a 422."""
CALLS = frozenset({"refusal", "_damaged", "unreadable", "_problem", "_too_much", "_unsupported", "kind"})
"""Functions that make an error of the text that they get."""
SHOWN = frozenset({"warning", "error", "exception", "tell", "echo", "show_message", "window_show_message"})
"""Methods that log or show a text."""


@dataclass(frozen=True, slots=True)
class Message:
    """One text and where it stands."""

    place: str
    kind: str
    text: str


def classes(root: Path) -> frozenset[str]:
    """Names of all error classes of the product, and of the others that are listed."""
    found = {"StarlingError", *FURTHER}
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files(root)]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while new := {n.name for n in nodes if n.name not in found and {ast.unparse(b) for b in n.bases} & found}:
        found |= new
    return frozenset(found)


def files(root: Path) -> list[Path]:
    """The modules of the three packages."""
    return sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))


def messages(file: Path, root: Path, kinds: frozenset[str]) -> Iterator[Message]:
    """The messages of one module, by line."""
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: node.lineno):
        name = called(call)
        if name in kinds or name in CALLS or (name in SHOWN and isinstance(call.func, ast.Attribute)):
            for text in filter(None, map(literal, [*call.args, *(keyword.value for keyword in call.keywords)])):
                yield Message(f"{file.relative_to(root)}:{call.lineno}", name, text)


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    return ast.unparse(call.func).rpartition(".")[2]


def literal(node: ast.expr) -> str:
    """The sentence that a literal holds, `{}` for each value; empty for what is no sentence."""
    if isinstance(node, ast.IfExp):
        return literal(node.body) or literal(node.orelse)
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    else:
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return text if " " in text else ""


def main() -> None:
    """Print the list."""
    parser = argparse.ArgumentParser(description="List every message that a user can get.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="checkout to read")
    parser.add_argument("--kind", help="list messages of this kind only")
    given = parser.parse_args()
    kinds = classes(given.root)
    found = [message for file in files(given.root) for message in messages(file, given.root, kinds)]
    found = [message for message in found if given.kind in (None, message.kind)]
    for message in found:
        print(message.place, message.kind, message.text)
    print(json.dumps({"messages": len(found), "kinds": dict(Counter(m.kind for m in found).most_common())}))


if __name__ == "__main__":
    main()
