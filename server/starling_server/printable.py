"""Escapes untrusted text for terminals, logs and pages: no escape sequences, no line breaks."""


def printable(text: str, keep: str = "") -> str:
    r"""`text` with unprintable characters, except those in `keep`, as escapes such as `\x1b`, `\n` and `\u202e`.

    Unprintable is what `str.isprintable` rejects: control characters, characters that change the writing direction,
    spaces other than U+0020, and lone surrogates (bytes of a file name that are not UTF-8).
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )
