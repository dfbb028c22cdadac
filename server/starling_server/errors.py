"""Every error that a user or a client can cause, as one tree.

StarlingError            str() is one sentence: what was found, what was expected, what to do
├── UsageError           a command stops with exit status 2
│   ├── SourceError      a training source is missing, unreadable, empty or too small
│   ├── BaseModelError   a base has no configuration, weights or FIM tokens, or an unsupported architecture
│   ├── AdapterError     an adapter is missing, damaged or was trained on another base
│   ├── OutputError      an output path is occupied, read-only or on a full disk
│   └── LeakError        a trained model reproduces a secret of its source
└── RequestError         a request fails; `status` is its HTTP status
    ├── BadRequest       400, the request's head is ambiguous: its end, its host or its target
    ├── Unauthorized     401, the token is missing or unknown
    ├── Forbidden        403, the token or the web page has no permission
    ├── UnknownAdapter   404
    ├── BrokenAdapter    409, an adapter's files cannot be loaded
    ├── UnfinishedAdapter 409, an adapter's files are incomplete and still changing
    ├── UnsupportedMedia 415, the body is not uncompressed JSON
    ├── WrongHost        421, the `Host` header is not a name of this server
    ├── InvalidRequest   422, the body is not JSON, or has too many values
    ├── UnreadablePrompt 422, a raw prompt is too long for the model or has unknown token ids
    ├── TooManyRequests  429, a client exceeds its rate or its concurrency
    ├── TooLarge         429, one request needs more than its client's limits ever allow
    ├── HeadTooLarge     431, the headers are too many or too long
    ├── ServerUnreachable   502, a client could not reach its server
    ├── NotReady         503, the model is still loading
    ├── Overloaded       503, the queue is full
    ├── Stalled          503, the model's thread hangs or died
    ├── OutOfMemory      503, a forward pass exceeds the free memory
    └── UpstreamDown     503, the server of --engine does not respond
"""

import re


class StarlingError(Exception):
    """Root of the tree; the message is one sentence for the user."""


class UsageError(StarlingError):
    """A command cannot continue with its arguments or files."""


class SourceError(UsageError):
    """A training source that is missing, unreadable, empty or too small."""


class BaseModelError(UsageError):
    """A base model that cannot be used."""


class AdapterError(UsageError):
    """An adapter that cannot be used with this base."""


class OutputError(UsageError):
    """An output path that cannot be written."""


class LeakError(UsageError):
    """A trained model reproduces a secret of its source."""


class RequestError(StarlingError):
    """A request cannot be served."""

    status = 400
    retry_after: int | None = None
    """Seconds after which a retry may succeed; None if waiting does not help."""

    @property
    def kind(self) -> str:
        """The class name in kebab-case: the last part of a problem document's `type`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()


class BadRequest(RequestError):
    """The request's head is ambiguous: where the request ends, or its host or target."""


class Unauthorized(RequestError):
    """The request has no token or an unknown one."""

    status = 401


class Forbidden(RequestError):
    """The request's token, or the web page that sent it, has no permission for this."""

    status = 403


class UnknownAdapter(RequestError):
    """The request names an adapter that is not served."""

    status = 404


class BrokenAdapter(RequestError):
    """The adapter exists, but its files cannot be loaded."""

    status = 409


class UnfinishedAdapter(RequestError):
    """The adapter's files are incomplete and were just changed: a copy may be in progress."""

    status = 409
    retry_after = 10


class UnsupportedMedia(RequestError):
    """The request's body is not JSON, or is compressed."""

    status = 415


class HeadTooLarge(RequestError):
    """The request has too many or too long headers."""

    status = 431


class InvalidRequest(RequestError):
    """The request's body is not JSON, or has more values than any request needs."""

    status = 422


class WrongHost(RequestError):
    """The request's `Host` header is not a name of this server."""

    status = 421


class TooManyRequests(RequestError):
    """A client exceeds its request rate or its concurrency."""

    status = 429
    retry_after = 1


class TooLarge(RequestError):
    """One request needs more than its client's limits ever allow; waiting does not help."""

    status = 429


class UnreadablePrompt(RequestError):
    """A raw prompt fills the model's context, or has token ids outside of the vocabulary."""

    status = 422


class NotReady(RequestError):
    """The model is still loading."""

    status = 503
    retry_after = 2


class Overloaded(RequestError):
    """The request queue is full."""

    status = 503
    retry_after = 1


class Stalled(RequestError):
    """The thread that owns the model hangs or died."""

    status = 503
    retry_after = 5


class OutOfMemory(RequestError):
    """A forward pass exceeds the free memory."""

    status = 503


class UpstreamDown(RequestError):
    """The server of --engine does not respond, or responds with an error."""

    status = 503
    retry_after = 2


class ServerUnreachable(RequestError):
    """A client could not reach its server, or got a response that is not of this protocol."""

    status = 502
