"""What the editor's status line says: the notification `starling/status`, sent where something changed."""

from collections.abc import Callable
from typing import Any, Literal

STATUS = "starling/status"
Kind = Literal["loading", "ready", "busy", "error", "inactive"]


class Status:
    """`{kind, message, base, adapter}`; `message` is one sentence for a person, maybe empty."""

    def __init__(self, send: Callable[[str, dict[str, Any]], None]) -> None:
        self._send = send
        self._last: dict[str, Any] = {}
        self.base: str | None = None
        self.adapter: str | None = None

    def serves(self, base: str | None, adapter: str | None) -> None:
        """Remember what answers now, for the next `tell`."""
        self.base, self.adapter = base, adapter

    @property
    def failed(self) -> bool:
        """Whether the last word was of trouble."""
        return self._last.get("kind") == "error"

    def tell(self, kind: Kind, message: str = "") -> None:
        """Tell the editor."""
        status = {"kind": kind, "message": message, "base": self.base, "adapter": self.adapter}
        if status != self._last:
            self._last = status
            self._send(STATUS, status)
