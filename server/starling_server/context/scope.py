"""The definition around a cursor, by indentation: it stays the same while a person types inside it.

By lines instead of a syntax tree: the text is unfinished, and a parser's answer would change from key to key.
"""

import re

from starling_server.postprocess.completion_scope import indentation

FAR = 3_000
"""Max lines above the cursor that are searched."""
LONGEST = 300
"""Characters read of a line."""
_HEAD = re.compile(
    r"\s*(?:[\w.@]+\s+){0,6}?"
    r"(?:def|class|fn|func|function|interface|struct|impl|trait|module|enum|namespace|macro_rules!|object|record)\s+"
    r"(?:\([^)]{0,120}\)\s*)?(?P<name>[^\s:({][^:({]{0,120})"
)
_CALLABLE = re.compile(r"\s*[\w<>\[\],.*&:~ ]*?(?P<name>~?[A-Za-z_]\w*)\s*\([^;]*$")
_CONTROL = frozenset({
    "if", "for", "while", "switch", "catch", "return", "else", "do", "try", "with", "elif", "except", "finally",
    "match", "case", "using", "lock", "when", "until", "unless", "loop", "select",
})  # fmt: skip


def enclosing(prefix: str) -> str:
    """Names of the definitions around the end of `prefix`, outermost first, such as `Console/print`; "" outside."""
    *above, line = prefix[-FAR * 50 :].split("\n")
    if not line:  # an empty line is still where the text above is
        line = next((text for text in reversed(above) if text.strip()), "")
    width = indentation(line)
    names = list[str]()
    for text in reversed(above[-FAR:]):
        if width == 0:
            break
        if not text.strip() or text.lstrip().startswith(")") or indentation(text) >= width:
            continue  # a parameter list's end is no head of its own
        width = indentation(text)
        name = _head(text[:LONGEST])
        if name:
            names.append(name)
    return "/".join(reversed(names))


def _head(line: str) -> str | None:
    """The name that a line defines."""
    found = _HEAD.match(line)
    if found:
        return found["name"].strip() or None
    called = _CALLABLE.match(line)
    return called["name"] if called and called["name"] not in _CONTROL and line.rstrip()[-1] in "{)" else None
