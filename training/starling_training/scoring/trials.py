"""A hole and its answers; the truth is processed like a model's output.

Compared are inserted texts: an answer after stop rules and trimming, and the text that the service would insert if a
model wrote exactly the middle.
"""

from dataclasses import dataclass

from starling_server.config import RULES, Mode
from starling_server.postprocess import stops
from starling_server.postprocess.completion_scope import decide
from starling_server.postprocess.filters import trim
from starling_server.prompt.cursor import Cursor
from starling_training.examples.spans import Hole

Placed = tuple[str, Hole]
"""A document's path, and a hole in it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One model at one hole. Values that an engine does not provide are None or 0."""

    text: str
    """The text to insert."""
    stopped: bool
    """Whether the model or a stop rule ended it, rather than the token limit."""
    nats: float | None = None
    """Negative log-probability of the true middle and its end."""
    tokens: int = 0
    """Tokens of the true middle with its end."""
    ms: float = 0.0
    """Milliseconds by the client's clock."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Tokens of the prompt that were read from the cache."""
    valid: bool | None = None
    """Whether the document parses with the answer in it; None if it does not parse with the truth either."""
    passed: tuple[bool, ...] = ()
    """For each sample, whether the tests passed."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One hole and both answers."""

    path: str
    hole: Hole
    truth: str
    """The text inserted if the model wrote exactly the middle."""
    base: Answer
    adapter: Answer
    near: str = ""
    """Similarity of the document to the adapter's training data (`holes.LIKENESS`); empty if unknown."""


def inserted(hole: Hole, text: str, mode: Mode = "auto") -> str:
    """The text that the service would insert at `hole` if a model wrote `text`, which begins at the cursor."""
    cursor = Cursor.at(hole.prefix, hole.suffix)
    extent = decide(cursor, None, mode)
    if extent == "nothing":
        return ""
    text = cursor.held + text
    fired = stops.first(stops.rules(extent, cursor, RULES), text)
    return trim(text[: fired[0]] if fired else text, cursor)


def truth(hole: Hole, mode: Mode = "auto") -> str:
    """The text that the service inserts at `hole` if the model writes exactly its middle."""
    return inserted(hole, hole.middle, mode)
