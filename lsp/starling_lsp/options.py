"""What the editor's `initializationOptions` may say. Whatever does not fit is warned about and falls back."""

import logging
from dataclasses import dataclass, fields, replace
from typing import Any

from starling_server.config import GGML_TYPES, RUNNERS, GgmlType, Mode, Quantize, RunnerName

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """Every option has a default; a command-line flag goes before the editor's value."""

    server: str | None = None
    """Address of a running serve-copilot; without it the model is loaded in this process."""
    base: str = "auto"
    adapter: str | None = None
    """Name or folder; without it the one that was trained on the workspace."""
    mode: Mode = "auto"
    max_tokens: int = 64
    debounce: int = -1
    """Milliseconds to wait for another key; -1 chooses by client."""
    device: str = "auto"
    quantize: Quantize = "auto"
    runner: RunnerName = "auto"
    ggml_type: GgmlType = "q4_0"
    cuda_graphs: bool = True
    cache_mb: int = 512
    prefetch: bool = True
    drafts: bool = True
    warm: bool = True
    """Read the prompt where the cursor rests, before anybody asks there."""


CHOICES: dict[str, tuple[str, ...]] = {
    "mode": ("auto", "line", "block"),
    "quantize": ("auto", "nf4", "none"),
    "runner": RUNNERS,
    "ggml_type": GGML_TYPES,
}
RANGES = {"max_tokens": (1, 512), "debounce": (-1, 2000), "cache_mb": (0, 1 << 20)}


def read(given: Any, flags: dict[str, Any]) -> Options:
    """The editor's options with the command line's flags over them; raises nothing."""
    options = Options(**flags)
    if given is not None and not isinstance(given, dict):
        log.warning("initializationOptions should be an object; using the defaults")
        return options
    for key, value in (given or {}).items():
        if value is None:
            continue
        name = _snake(str(key))
        problem = _problem(name, value)
        if problem:
            log.warning("option %s: %s; using %r", key, problem, getattr(options, name, None))
        elif name not in flags:
            options = replace(options, **{name: value})
    return options


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with the value, None where nothing is."""
    known: dict[str, Any] = {field.name: field.default for field in fields(Options)}
    if name not in known:
        return f"unknown, the known ones are {', '.join(known)}"
    kind = str if known[name] is None else type(known[name])
    if type(value) is not kind:
        return f"should be of type {kind.__name__}"
    if name in CHOICES and value not in CHOICES[name]:
        return f"should be one of {', '.join(CHOICES[name])}"
    low, high = RANGES.get(name, (value, value))
    return None if low <= value <= high else f"should lie between {low} and {high}"


def _snake(name: str) -> str:
    return "".join("_" + char.lower() if char.isupper() else char for char in name)
