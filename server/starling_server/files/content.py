"""The text of one source file, or the reason to exclude it: the same checks for training and for the index."""

from starling_server.files import filters, notebook
from starling_server.files.secrets.redact import Secret, redact
from starling_server.prompt.cursor import normalize

TOO_LARGE = "over 1 MB"


class Unwanted(Exception):
    """A file is excluded; the message is the reason."""


def source_text(path: str, content: bytes) -> str:
    """The text of the file at `path`, relative to its source, with plain newlines and secrets; raises Unwanted.

    `content` is the file's beginning, one byte more than `filters.MAX_BYTES` at most.
    """
    if fault := filters.path_fault(path):
        raise Unwanted(fault)
    if len(content) > filters.MAX_BYTES:
        raise Unwanted(TOO_LARGE)
    if b"\0" in content:
        raise Unwanted("binary")
    try:
        found = normalize(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unwanted("not UTF-8") from error
    code = notebook.code(found) if path.endswith(notebook.SUFFIX) else found
    if code is None:
        raise Unwanted("no Python notebook")
    if fault := filters.text_fault(code):
        raise Unwanted(fault)
    return code


def redacted(path: str, content: bytes) -> tuple[str, list[Secret]]:
    """As `source_text`, with a placeholder for every secret, and the places of the secrets; raises Unwanted."""
    return redact(source_text(path, content))
