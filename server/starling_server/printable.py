"""Names and texts of others as a terminal or a page may be given them: no escape sequence, no second line."""


def printable(text: str, keep: str = "") -> str:
    r"""`text` with every character that does not print as an escape (`\x1b`, `\n`, `\u202e`), but for those in `keep`.

    What prints is what `str.isprintable` says: no control characters, none that turn the direction of writing, no
    blanks but the space, no halves of surrogate pairs (bytes of a file name that are no UTF-8).
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )
