"""Everything that a user or a client can cause, as one tree.

StarlingError            str() is one sentence that says what is wrong and what to do
├── UsageError           a command cannot go on; its exit status is 2
│   ├── SourceError      a training source that is missing, empty or too small
│   ├── BaseModelError   a base without config, weights, FIM tokens or a known architecture
│   ├── AdapterError     an adapter that is missing, damaged or made for another base
│   ├── OutputError      a place that cannot be written: occupied, read-only, full
│   └── LeakError        a trained model gives back a secret of its source
└── RequestError         one request cannot be served; `status` is its HTTP status
    ├── BadRequest       400, a head that leaves open where its request ends, or whom it asks for what
    ├── Unauthorized     401, no token or an unknown one
    ├── Forbidden        403, this token, or this web page, may not do that
    ├── UnknownAdapter   404
    ├── BrokenAdapter    409, an adapter's files cannot be loaded
    ├── UnsupportedMedia 415, a body that is not plain JSON
    ├── WrongHost        421, a name in `Host` that is not this server's
    ├── TooManyRequests  429, one client asks too often, or too much at once
    ├── HeadTooLarge     431, too many or too long headers
    ├── InvalidRequest   422, a body that is no JSON, or has more in it than any request needs
    ├── TooLarge         429, one request asks for more than its client may ever have at once
    ├── UnreadablePrompt 422, a raw prompt that leaves the model no room, or of unknown ids
    ├── NotReady         503, the model is still loading
    ├── Overloaded       503, the queue is full
    ├── Stalled          503, the model's thread hangs or has died
    ├── OutOfMemory      503, a forward does not fit beside what else is in memory
    ├── UpstreamDown     503, the server that computes for this one does not answer
    └── ServerUnreachable   502, a client could not talk to its server
"""

import re


class StarlingError(Exception):
    """Root of the tree; the message is one sentence for a person."""


class UsageError(StarlingError):
    """A command cannot go on because of what it was given."""


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
    """One request cannot be served."""

    status = 400
    retry_after: int | None = None
    """Seconds after which it is worth asking again, where waiting helps."""

    @property
    def kind(self) -> str:
        """The class's name in kebab-case, the last part of a problem document's `type`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()


class BadRequest(RequestError):
    """The request's head leaves open where the request ends, or whom it asks for what."""


class Unauthorized(RequestError):
    """The request has no token or an unknown one."""

    status = 401


class Forbidden(RequestError):
    """The request's token, or the web page that it comes from, may not do that."""

    status = 403


class UnknownAdapter(RequestError):
    """The request names an adapter that is not served."""

    status = 404


class BrokenAdapter(RequestError):
    """An adapter is there, and its files cannot be loaded."""

    status = 409


class UnfinishedAdapter(RequestError):
    """The adapter's files are incomplete and were just changed: a copy may be in progress."""

    status = 409
    retry_after = 10


class UnsupportedMedia(RequestError):
    """The request's body is not plain JSON."""

    status = 415


class HeadTooLarge(RequestError):
    """The request has too many or too long headers."""

    status = 431


class InvalidRequest(RequestError):
    """The request's body is no JSON, or has more in it than any request needs."""

    status = 422


class WrongHost(RequestError):
    """The request names a host that this server is not known by."""

    status = 421


class TooManyRequests(RequestError):
    """One client asks too often, or too much at once."""

    status = 429
    retry_after = 1


class TooLarge(RequestError):
    """One request asks for more than its client may ever have at once: waiting does not help."""

    status = 429


class UnreadablePrompt(RequestError):
    """A raw prompt that fills the model's whole context, or holds ids that there are none of."""

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
    """The thread that owns the model hangs or has died."""

    status = 503
    retry_after = 5


class OutOfMemory(RequestError):
    """A forward does not fit into the memory that is left."""

    status = 503


class UpstreamDown(RequestError):
    """The server that computes for this one does not answer, or not as it should."""

    status = 503
    retry_after = 2


class ServerUnreachable(RequestError):
    """A client could not reach its server, or got an answer that is not of this protocol."""

    status = 502
