"""The language server's options: `initializationOptions`, and later the section `starling` of the editor's settings.

Names may be written in camelCase (`maxTokens`) or with underscores (`max_tokens`). An invalid value is replaced by the
default, with a warning. A command-line flag overrides the editor's value. `OPTIONS` lists every option with its help:
`OWN` those of the language server alone, `starling_server.options` those that it shares with serve-copilot.

`debounce` is in milliseconds; -1 adapts it to the editor and the typing speed. `enable` maps an editor's language ids
to true or false; `*` stands for all languages without an entry.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from starling_server import options as shared
from starling_server.config import EngineConfig, GgmlType, Mode, ModelConfig, Quantize, RunnerName, ServiceConfig
from starling_server.options import EDITOR, LSP, Option

log = logging.getLogger(__name__)
SECTION = "starling"
"""Of the editor's settings."""
TriggerMode = Literal["auto", "manual"]
AUTO = "auto"
"""As `server`: the server that all editors of this user share."""
EVERY = "*"
"""In `enable`, all languages without an entry."""
CLIENTS = frozenset({"server_path", "server_args", "server_url", "trace"})
"""Settings of the editor's own side, which are in the same section."""
_MODEL, _SERVICE, _ENGINE = ModelConfig(), ServiceConfig(), EngineConfig()


@dataclass(frozen=True, slots=True)
class Options:
    """Every option has a default; `OPTIONS` describes each."""

    enable: Mapping[str, bool] = field(default_factory=lambda: {EVERY: True})
    trigger_mode: TriggerMode = "auto"
    comments: bool = True
    mode: Mode = _SERVICE.mode
    max_tokens: int = _SERVICE.max_tokens
    debounce: int = -1
    completion_items: bool = False
    statistics: bool = True
    server: str | None = None
    token_file: str | None = None
    adapter: str | None = None
    base: str = _MODEL.base
    device: str = _MODEL.device
    quantize: Quantize = _MODEL.quantize
    runner: RunnerName = _MODEL.runner
    ggml_type: GgmlType = _MODEL.ggml_type
    cuda_graphs: bool = _MODEL.cuda_graphs
    cache_mb: int = _ENGINE.cache_mb
    prefetch: bool = _SERVICE.prefetch
    drafts: bool = _SERVICE.drafts
    warm: bool = True
    other_files: bool = True

    def enabled(self, language: str) -> bool:
        """Whether documents of this language, by the editor's id, get suggestions."""
        return self.enable.get(language, self.enable.get(EVERY, True))

    def same_model(self, other: "Options") -> bool:
        """Whether a change from `other` keeps the loaded model or the connection."""
        return all(getattr(self, name) == getattr(other, name) for name in MODEL)

    def values(self) -> dict[str, Any]:
        """Every option's value by its name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


CONNECTION = (
    Option(
        "server",
        "Use a running serve-copilot at this address instead of loading a model here. auto: the server that all "
        "editors of this user share; it starts when needed and exits after 15 minutes without a request.",
        (*LSP, "vscode", "neovim"),
        Options,
        metavar="URL|auto",
        loads=True,
        names={"vscode": "serverUrl"},
        defaults={"vscode": "auto", "neovim": "auto"},
        texts={
            "vscode": "Server that holds the model. `auto`: one server for all your windows and editors; it starts "
            "when needed and exits after 15 minutes without a request. An address such as `http://127.0.0.1:8077`: a "
            "running `serve-copilot`; set its token with the command *Starling: Set the Server's Token*. Empty: the "
            "language server of this window loads the model.",
            "neovim": "Server that holds the model. 'auto': one server for all your editors; it starts when needed "
            "and exits after 15 minutes without a request. An address: a running `serve-copilot`. `false`: this "
            "language server loads the model.",
        },
    ),
    Option(
        "token_file",
        "File with the token for --server. STARLING_TOKEN can be set instead.",
        LSP,
        Options,
        metavar="FILE",
        loads=True,
    ),
    Option(
        "adapter",
        "Name or directory of the adapter for all folders. Default: for each folder, the adapter trained on it.",
        (*LSP, "vscode", "neovim"),
        Options,
        metavar="NAME_OR_DIR",
        loads=True,
    ),
)
BEHAVIOUR = (
    Option(
        "debounce",
        "Milliseconds to wait for another key before a request; -1 adapts to the editor and the typing speed.",
        (*LSP, "vscode"),
        Options,
        limits=(-1, 2000),
    ),
    Option("warm", "Prefill the prompt at the cursor before a suggestion is requested.", LSP, Options),
    Option(
        "other_files",
        "Index the workspace in the background and send pieces of other files, if the model has learnt to read them.",
        LSP,
        Options,
    ),
    Option(
        "enable",
        "Languages with suggestions, by the editor's language id; * stands for all languages without an entry.",
        (*EDITOR, "vscode", "neovim"),
        Options,
        defaults={"vscode": {EVERY: True, "plaintext": False, "scminput": False}},
        texts={
            "neovim": "Filetypes with suggestions, such as `{ markdown = false }`; `*` stands for all filetypes "
            "without an entry."
        },
    ),
    Option(
        "trigger_mode",
        "When to suggest. auto: while typing. manual: only on an explicit request.",
        (*EDITOR, "vscode", "neovim"),
        Options,
        choices=get_args(TriggerMode),
        texts={
            "vscode": "When to suggest.",
            "neovim": "When to suggest. 'auto': while typing. 'manual': only on |<Plug>(starling-trigger)|.",
        },
        enum_texts=("While typing.", "Only after the command Suggest Here (Alt+\\)."),
    ),
    Option("comments", "Also suggest inside comments.", (*EDITOR, "vscode"), Options),
    Option(
        "completion_items",
        "Also answer textDocument/completion, for editors without ghost text. Read once, at start.",
        EDITOR,
        Options,
    ),
    Option(
        "statistics",
        "Count shown and accepted suggestions, on this machine only; `starling-lsp stats` shows the counts. No code is "
        "stored.",
        (*EDITOR, "vscode"),
        Options,
    ),
)
OWN = (*CONNECTION, *BEHAVIOUR)
OPTIONS = shared.on("initializationOptions", (*CONNECTION, *shared.OPTIONS, *BEHAVIOUR))
MODEL = tuple(option.name for option in OPTIONS if option.loads)
"""Options that a loaded model or a connection depends on."""
CHOICES = {option.name: option.choices for option in OPTIONS if option.choices}
RANGES = {option.name: option.limits for option in OPTIONS if option.limits}


def read(given: Any, flags: dict[str, Any]) -> Options:
    """The editor's options with the command line's flags over them; raises nothing."""
    options = Options(**flags)
    if given is not None and not isinstance(given, dict):
        log.warning("the initialization options are not a JSON object; the defaults are used")
        return options
    for key, value in (given or {}).items():
        name = _snake(str(key))
        if value is None or name in CLIENTS:
            continue
        problem = _problem(name, value)
        if problem:
            log.warning("option %s %s; %r is used", key, problem, getattr(options, name, None))
        elif name not in flags:
            options = replace(options, **{name: value})
    return options


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with the value, None where nothing is."""
    defaults = Options()
    known: dict[str, Any] = {each.name: getattr(defaults, each.name) for each in fields(Options)}
    if name not in known:
        return f"is unknown; the options are {', '.join(known)}"
    kind = str if known[name] is None else type(known[name])
    if type(value) is not kind:
        return f"is {value!r:.100}, not of type {kind.__name__}"
    if name == "enable" and not all(type(on) is bool for on in value.values()):
        return 'must be true or false for each language, such as {"*": true, "markdown": false}'
    if name in CHOICES and value not in CHOICES[name]:
        return f"is {value!r:.100}, not one of {', '.join(CHOICES[name])}"
    low, high = RANGES.get(name, (None, None))
    within = (low is None or low <= value) and (high is None or value <= high)
    return None if within else f"is {value}, not between {low} and {high}"


def _snake(name: str) -> str:
    return "".join("_" + char.lower() if char.isupper() else char for char in name)
