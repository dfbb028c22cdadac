"""Logs for people or, one JSON object a line, for programs; every line carries the request that it belongs to.

At the default level no line holds text of a document, a path of one, or a token. What a line quotes of the outside
cannot begin a line of its own, nor steer a terminal: one formatter escapes it, whoever wrote it.
"""

import logging
import sys
import traceback
from contextvars import ContextVar
from typing import Any, Literal, get_args

from starling_server.printable import printable

LogFormat = Literal["text", "json"]
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
NONE = "-"
"""The id of lines that belong to no request."""
request_id: ContextVar[str] = ContextVar("request_id", default=NONE)
"""Id of the current request."""
INDENT = "    "
"""Before each line of a stack: no record begins with it."""
STACKS = frozenset({"stack", "exc_info", "stack_info"})
"""Members of JSON that have lines."""


class Escaping(logging.Formatter):
    """Lines for people: a record's message on one, its stack indented below."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, with nothing in it that is not its own."""
        record.message = printable(record.message)
        line = super().formatMessage(record)
        stack = getattr(record, "stack", "")
        return f"{line}\n{_indented(stack)}" if stack else line

    def formatException(self, ei: Any) -> str:
        """Its stack."""
        return _indented(super().formatException(ei))


class RequestId(logging.Filter):
    """Puts the current request's id on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id and accept the record."""
        record.request_id = known = request_id.get()
        record.bracketed = "" if known == NONE else f" [{known}]"
        return True


def set_up(form: LogFormat, verbose: bool) -> None:
    """Log to stderr; `verbose` shows every request of ours, and never more of other packages."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RequestId())
    handler.setFormatter(_formatter(form))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("starling_server").setLevel(logging.DEBUG if verbose else logging.INFO)


def what(error: BaseException) -> str:
    """The error without its message, which may quote client text."""
    cause = error.__cause__ or error.__context__
    return type(error).__name__ + (f" (from {type(cause).__name__})" if cause is not None else "")


def where(error: BaseException) -> dict[str, str]:
    """Where in our code that was, as a log call's `extra`."""
    return {"stack": "".join(traceback.format_tb(error.__traceback__)).rstrip()}


def _printable(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return printable(value, keep="\n" if name in STACKS else "")


def _indented(stack: str) -> str:
    return "\n".join(INDENT + printable(line) for line in stack.split("\n"))


def _formatter(form: LogFormat) -> logging.Formatter:
    if form == "text":
        return Escaping("%(levelname)s %(name)s%(bracketed)s: %(message)s")
    from pythonjsonlogger.json import JsonFormatter

    class Json(JsonFormatter):
        """Objects whose texts can be printed as they are."""

        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            """Escape every text once more than JSON does; the reader undoes it."""
            return {name: _printable(name, each) for name, each in super().process_log_record(log_data).items()}

    renamed = {"levelname": "level", "name": "logger"}
    return Json("%(levelname)s %(name)s %(message)s %(request_id)s", rename_fields=renamed, timestamp=True)
