"""A command's settings and their origins: flags, then the environment, then a TOML file, then the defaults."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from platformdirs import user_config_path

from starling_server.errors import UsageError

CONFIG = "serve.toml"
UNNAMED = frozenset({"config", "print_config", "version", "help"})
"""Flags that are not settings."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting by its flag's name."""

    name: str
    value: Any
    origin: str
    """`flag`, an environment variable, the file, or `default`."""


def default_file() -> Path:
    """The file that is read without `--config`, if it exists."""
    return user_config_path("starling", appauthor=False) / CONFIG


def take_file(context: click.Context, _: click.Parameter, file: Path | None) -> Path | None:
    """A callback for `--config`: the file's values become defaults; raises UsageError for an unknown setting."""
    path = file or (default_file() if default_file().is_file() else None)
    if path is not None:
        context.default_map = _parameters(context, path, _read(path))
    return path


def settings(context: click.Context) -> list[Setting]:
    """Every setting of the running command, in the order of its help."""
    return [
        Setting(_flag(option), context.params[option.name or ""], _origin(context, option))
        for option in _options(context)
    ]


def as_toml(found: list[Setting]) -> Iterator[str]:
    """Lines that `--config` can read; JSON's strings, numbers and lists are valid TOML."""
    for setting in found:
        value = setting.value
        if value is None:
            yield f"# {setting.name} is not set"
        else:
            plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
            yield f"{setting.name} = {json.dumps(plain, ensure_ascii=False)}  # {setting.origin}"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The settings in {path} cannot be read ({error.strerror}): name another --config.") from error
    except (ValueError, RecursionError) as error:
        said = "nested too deep" if isinstance(error, RecursionError) else error
        raise UsageError(f"{path} is not valid TOML ({said}): correct it.") from error


def _parameters(context: click.Context, path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The file's values by parameter; names are flags' names, with `-` or `_`."""
    known = {_flag(option): option for option in _options(context)}
    given = {name.replace("_", "-"): value for name, value in values.items()}
    if unknown := sorted(given.keys() - known.keys()):
        raise UsageError(f"{path}: there is no setting {unknown[0]!r}: use one of {', '.join(sorted(known))}.")
    for name, value in given.items():
        if isinstance(value, list) != known[name].multiple or isinstance(value, dict):
            wanted = "a list" if known[name].multiple else "one value"
            found = "a list" if isinstance(value, list) else "a table" if isinstance(value, dict) else "one value"
            raise UsageError(f"{path}: {name} takes {wanted}, not {found}: correct it.")
    return {known[name].name or "": value for name, value in given.items()}


def _options(context: click.Context) -> list[click.Option]:
    options = [parameter for parameter in context.command.params if isinstance(parameter, click.Option)]
    return [option for option in options if option.name not in UNNAMED]


def _flag(option: click.Option) -> str:
    return next(name for name in option.opts if name.startswith("--")).removeprefix("--")


def _origin(context: click.Context, option: click.Option) -> str:
    source = context.get_parameter_source(option.name or "")
    if source == ParameterSource.ENVIRONMENT:
        named = f"{context.auto_envvar_prefix}_{(option.name or '').upper()}"
        return named if named in os.environ else "environment"
    if source == ParameterSource.DEFAULT_MAP:
        return str(context.params.get("config") or default_file())
    return "flag" if source == ParameterSource.COMMANDLINE else "default"
