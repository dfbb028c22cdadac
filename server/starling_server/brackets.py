"""Which brackets a text opens and closes; strings and comments are not told apart from code."""

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())


def first_surplus_closer(text: str) -> int | None:
    """Index of the first closing bracket that no bracket in `text` opened."""
    expected: list[str] = []
    for index, char in enumerate(text):
        if char in OPENERS:
            expected.append(OPENERS[char])
        elif expected and char == expected[-1]:
            expected.pop()
        elif char in CLOSERS:
            return index
    return None


def open_brackets(text: str) -> int:
    """Number of brackets that `text` opens and does not close."""
    expected: list[str] = []
    for char in text:
        if char in OPENERS:
            expected.append(OPENERS[char])
        elif expected and char == expected[-1]:
            expected.pop()
    return len(expected)
