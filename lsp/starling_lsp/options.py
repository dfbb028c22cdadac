"""What the editor may say, in `initializationOptions` and later in the section `starling` of its settings.

Names are written as editors write them (`maxTokens`) or as here (`max_tokens`). Whatever does not fit is warned about
and falls back. A command-line flag goes before the editor's value.

| option | values | meaning |
| --- | --- | --- |
| `enable` | `{"*": true, "markdown": false}` | languages with suggestions, by the editor's id; `*` is every other one |
| `triggerMode` | `auto`, `manual` | `manual` answers only requests that a person made by a key |
| `comments` | true, false | whether comments get suggestions |
| `mode` | `auto`, `line`, `block` | how far a suggestion goes; `auto` decides by the place |
| `maxTokens` | 1 to 512 | most tokens of one suggestion |
| `debounce` | -1 to 2000 | milliseconds to wait for another key; -1 adapts to the editor and the typist |
| `completionItems` | true, false | also answer `textDocument/completion`, for editors without ghost text; read once |
| `statistics` | true, false | keep counts of what was shown and accepted, on this machine only |
| `server` | an address, `auto` | a running serve-copilot, which then holds the model; `auto` is the one that all of this user's editors share, started when it is needed |
| `tokenFile` | a path | holds the token that the server asks for; without it STARLING_TOKEN of the environment |
| `adapter` | a name or folder | for every folder; without it each folder has the one that was trained on it |
| `base`, `device`, `quantize`, `runner`, `ggmlType`, `cudaGraphs`, `cacheMb`, `prefetch`, `drafts` | | as the flags of `serve-copilot` |
| `warm` | true, false | read the prompt where the cursor rests, before anybody asks there |
"""  # noqa: E501 - a table

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from starling_server.config import GGML_TYPES, QUANTIZE, RUNNERS, GgmlType, Mode, Quantize, RunnerName

log = logging.getLogger(__name__)
SECTION = "starling"
"""Of the editor's settings."""
TriggerMode = Literal["auto", "manual"]
AUTO = "auto"
"""As `server`: one for all of this user's editors."""
EVERY = "*"
"""Stands in `enable` for the languages that it does not name."""
CLIENTS = frozenset({"server_path", "server_args", "server_url", "trace"})
"""Settings of the editor's own side that come along in its section."""


@dataclass(frozen=True, slots=True)
class Options:
    """Every option has a default; the module's text says what each is."""

    enable: Mapping[str, bool] = field(default_factory=lambda: {EVERY: True})
    trigger_mode: TriggerMode = "auto"
    comments: bool = True
    mode: Mode = "auto"
    max_tokens: int = 64
    debounce: int = -1
    completion_items: bool = False
    statistics: bool = True
    server: str | None = None
    token_file: str | None = None
    adapter: str | None = None
    base: str = "auto"
    device: str = "auto"
    quantize: Quantize = "auto"
    runner: RunnerName = "auto"
    ggml_type: GgmlType = "q4_0"
    cuda_graphs: bool = True
    cache_mb: int = 512
    prefetch: bool = True
    drafts: bool = True
    warm: bool = True

    def enabled(self, language: str) -> bool:
        """Whether documents of this language, by the editor's id, get suggestions."""
        return self.enable.get(language, self.enable.get(EVERY, True))

    def same_model(self, other: "Options") -> bool:
        """Whether a change from `other` leaves the loaded model or the connection as it is."""
        return all(getattr(self, name) == getattr(other, name) for name in MODEL)


MODEL = (
    *("server", "token_file", "adapter", "base", "device", "quantize", "runner"),
    *("ggml_type", "cuda_graphs", "cache_mb", "prefetch", "drafts"),
)
"""Options that a loaded model depends on."""
CHOICES: dict[str, tuple[str, ...]] = {
    "mode": ("auto", "line", "block"),
    "trigger_mode": get_args(TriggerMode),
    "quantize": QUANTIZE,
    "runner": RUNNERS,
    "ggml_type": GGML_TYPES,
}
RANGES = {"max_tokens": (1, 512), "debounce": (-1, 2000), "cache_mb": (0, 1 << 20)}


def read(given: Any, flags: dict[str, Any]) -> Options:
    """The editor's options with the command line's flags over them; raises nothing."""
    options = Options(**flags)
    if given is not None and not isinstance(given, dict):
        log.warning("options should be an object; using the defaults")
        return options
    for key, value in (given or {}).items():
        name = _snake(str(key))
        if value is None or name in CLIENTS:
            continue
        problem = _problem(name, value)
        if problem:
            log.warning("option %s: %s; using %r", key, problem, getattr(options, name, None))
        elif name not in flags:
            options = replace(options, **{name: value})
    return options


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with the value, None where nothing is."""
    defaults = Options()
    known: dict[str, Any] = {each.name: getattr(defaults, each.name) for each in fields(Options)}
    if name not in known:
        return f"unknown, the known ones are {', '.join(known)}"
    kind = str if known[name] is None else type(known[name])
    if type(value) is not kind:
        return f"should be of type {kind.__name__}"
    if name == "enable" and not all(type(on) is bool for on in value.values()):
        return 'should say true or false for each language, such as {"*": true, "markdown": false}'
    if name in CHOICES and value not in CHOICES[name]:
        return f"should be one of {', '.join(CHOICES[name])}"
    low, high = RANGES.get(name, (value, value))
    return None if name not in RANGES or low <= value <= high else f"should lie between {low} and {high}"


def _snake(name: str) -> str:
    return "".join("_" + char.lower() if char.isupper() else char for char in name)
