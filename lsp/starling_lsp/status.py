"""Status for the editor's status line: the notification `starling/status`, sent on every change."""

from collections.abc import Callable
from typing import Any, Literal

STATUS = "starling/status"
Kind = Literal["loading", "ready", "busy", "error", "inactive"]


class Status:
    """`{kind, message, base, adapter}`; `message` is one sentence for the user and may be empty."""

    def __init__(self, send: Callable[[str, dict[str, Any]], None]) -> None:
        self._send = send
        self._last: dict[str, Any] = {}
        self.base: str | None = None
        self.adapter: str | None = None

    def serves(self, base: str | None, adapter: str | None) -> None:
        """Set the base and adapter in use, for the next `tell`."""
        self.base, self.adapter = base, adapter

    @property
    def failed(self) -> bool:
        """Whether the last status was an error."""
        return self._last.get("kind") == "error"

    def tell(self, kind: Kind, message: str = "") -> None:
        """Send the status to the editor, unless it is unchanged."""
        status = {"kind": kind, "message": message, "base": self.base, "adapter": self.adapter}
        if status != self._last:
            self._last = status
            self._send(STATUS, status)
