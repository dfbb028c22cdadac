"""JSON-RPC as the protocol has it: one answer to every request, whatever its form and whenever it comes.

pygls answers only what it could turn into an object, shows a popup for everything else, and keeps no order of
initialization and shutdown. Here a message that is refused is answered with an error that names the field, reported in
the log, and passed to `refused`, since it may have been an edit.
"""

import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInternalError,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcParseError,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol

from starling_lsp.wire import forms
from starling_lsp.wire.forms import Json
from starling_lsp.wire.frames import Frame

log = logging.getLogger(__name__)
Id = int | str | None


class Protocol(LanguageServerProtocol):
    """One editor's conversation."""

    refused: Callable[[str | None, Any], None]
    """Called with the method and the JSON of params that could not be read; without a method with the body's text."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._cut = b""
        """The last body if it could not be read: the bytes that follow it may be its rest."""

    def receive(self, frame: Frame) -> None:
        """Handle a frame; each element of a batch is handled as if it came alone."""
        if frame.stray:
            self._unreadable(self._cut + frame.stray)
        self._cut = b""
        try:
            content = json.loads(frame.body)
        except (ValueError, RecursionError):
            self._unreadable(frame.body)
            self._cut = frame.body
            return
        messages = cast(list[Any], content) if isinstance(content, list) and content else [content]
        for message in messages:
            try:
                self._take(message)
            except BrokenPipeError:
                raise
            except Exception:  # the next message may be a better one
                log.exception("a message could not be handled")

    def _unreadable(self, body: bytes) -> None:
        log.warning("%d bytes came that are no JSON in UTF-8", len(body))
        self._refuse(None, JsonRpcParseError("The message is not JSON in UTF-8, or its Content-Length is wrong."))
        self.refused(None, body.decode("utf-8", "replace"))

    def _take(self, content: Any) -> None:
        """Handle one message of any form."""
        message: Json = cast(Json, content) if isinstance(content, dict) else {}
        method, params = message.get("method"), message.get("params")
        if "method" not in message and ("result" in message or "error" in message):
            self._answered(message)
            return
        problem = self._problem(message)
        if problem is None:
            assert isinstance(method, str)
            problem = self._handle(message, method)
        if problem is None:
            return
        log.warning("refused %s: %s", method if isinstance(method, str) else "a message", problem.message)
        if "id" in message or not isinstance(method, str):
            self._refuse(_id(message), problem)
        self.refused(method if isinstance(method, str) else None, params if isinstance(method, str) else "")

    def _problem(self, message: Json) -> JsonRpcException | None:
        """Why the message is none of JSON-RPC, or comes at the wrong time; None where all is well."""
        method = message.get("method")
        if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
            return JsonRpcInvalidRequest('A message is an object with "jsonrpc": "2.0" and a method.')
        if message.get("id") is not None and _id(message) is None:
            return JsonRpcInvalidRequest("The id of a request is a number or a string.")
        if message.get("id") is None and forms.is_request(method):
            return JsonRpcInvalidRequest(f"{method} is a request and needs an id.")
        return self._untimely(method)

    def _untimely(self, method: str) -> JsonRpcException | None:
        if method == types.EXIT:
            return None
        if self._shutdown:
            return JsonRpcInvalidRequest("The server was shut down; only exit may follow.")
        if self._workspace is None and method != types.INITIALIZE:
            return JsonRpcServerNotInitialized("The first request has to be initialize.")
        if self._workspace is not None and method == types.INITIALIZE:
            return JsonRpcInvalidRequest("The server is initialized already.")
        return None

    def _handle(self, message: Json, method: str) -> JsonRpcException | None:
        """Pass the message to its handler; returns why that is impossible."""
        known = method in self.fm.builtin_features or method in self.fm.features or method == types.CANCEL_REQUEST
        if not known:
            return JsonRpcMethodNotFound.of(method) if "id" in message else None
        try:
            params = forms.mended(method, message.get("params"), self._converter)
            form = forms.form_of(method)
            own = {name: message[name] for name in ("jsonrpc", "method") if name in message}
            if forms.is_request(method):
                own["id"] = _id(message)
            given = {} if params is None else {"params": params}
            structured = self._converter.structure({**own, **given}, form)
        except Exception as error:  # whatever the converter meets
            return JsonRpcInvalidParams(f"{method}: {forms.faults(error)}")
        self.handle_message(structured)
        if "id" in message and message["id"] is not None and not forms.is_request(method):
            self._send_data({"jsonrpc": "2.0", "id": _id(message), "result": None})
        return None

    def _handle_cancel_notification(self, msg_id: Any) -> None:
        """Cancel a request; an id that cannot be one is that of none."""
        if isinstance(msg_id, int | str):
            super()._handle_cancel_notification(msg_id)

    def _answered(self, message: Json) -> None:
        """Complete a request of our own; an answer that cannot be read is an error, so that nothing waits for it."""
        id = _id(message)
        if id not in self._result_types:
            log.warning("an answer came to no request")
            return
        form, future = self._result_types.pop(id), self._request_futures.pop(id, None)
        if future is None or future.done():
            return
        try:
            if message.get("error") is not None:
                raise JsonRpcInternalError("The editor refused the request.")
            future.set_result(self._converter.structure(message, form).result)
        except Exception as error:  # whatever the converter meets
            future.set_exception(error if isinstance(error, JsonRpcException) else JsonRpcInternalError())

    def _refuse(self, id: Id, problem: JsonRpcException) -> None:
        self._send_data({"jsonrpc": "2.0", "id": id, "error": {"code": problem.code, "message": problem.message}})

    def _send_handler_result(self, future: Future[Any], *, msg_id: int | str) -> None:
        """Send what a handler came to; pygls would log the trace of an error that the handler meant for the editor."""
        problem = None if future.cancelled() else future.exception()
        if not isinstance(problem, JsonRpcException):
            super()._send_handler_result(future, msg_id=msg_id)
            return
        self._request_futures.pop(msg_id, None)
        log.warning("refused a request: %s", problem.message)
        self._refuse(msg_id, problem)

    def _send_response(self, msg_id: int | str, result: Any = None, error: types.ResponseError | None = None) -> None:
        """Send an answer; the log has the trace of an unexpected error, the editor a sentence."""
        if error is not None and error.code == JsonRpcInternalError.CODE:
            error = types.ResponseError(error.code, "The request failed: see the language server's log.")
        super()._send_response(msg_id, result, error)


def _id(message: Json) -> Id:
    """The id of a message; None for a wrong one. Some editors write every number with a decimal point."""
    id = message.get("id")
    if isinstance(id, float) and id.is_integer():
        return int(id)
    return id if isinstance(id, int | str) and not isinstance(id, bool) else None
