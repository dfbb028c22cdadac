"""Logs for people or, one JSON object a line, for programs; every line carries the request that it belongs to.

At the default level no line holds text of a document, a path of one, or a token.
"""

import logging
import sys
import traceback
from contextvars import ContextVar
from typing import Literal, get_args

LogFormat = Literal["text", "json"]
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
NONE = "-"
"""The id of lines that belong to no request."""
request_id: ContextVar[str] = ContextVar("request_id", default=NONE)
"""Of the request that is being answered here."""


class RequestId(logging.Filter):
    """Puts the current request's id on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it pass."""
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


def where(error: BaseException) -> str:
    """What failed and where in our code, without the message, which may quote what a client sent."""
    cause = error.__cause__ or error.__context__
    reason = f" (from {type(cause).__name__})" if cause is not None else ""
    return f"{type(error).__name__}{reason}\n{''.join(traceback.format_tb(error.__traceback__))}".rstrip()


def _formatter(form: LogFormat) -> logging.Formatter:
    if form == "text":
        return logging.Formatter("%(levelname)s %(name)s%(bracketed)s: %(message)s")
    from pythonjsonlogger.json import JsonFormatter

    renamed = {"levelname": "level", "name": "logger"}
    return JsonFormatter("%(levelname)s %(name)s %(message)s %(request_id)s", rename_fields=renamed, timestamp=True)
