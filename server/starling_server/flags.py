"""Command-line flags from the table of `options`, so that they read the same in every command. No torch."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from starling_server import options
from starling_server.options import Option, Surface

Command = Callable[..., Any]


def flag(option: Option, surface: Surface = "serve-copilot") -> Command:
    """A click option: its name, type, default and help are the entry's."""
    default = option.default(surface)
    given: dict[str, Any] = {"help": option.text(surface), "metavar": option.metavar}
    if option.multiple:
        given["multiple"] = True
    elif default is False:
        return click.option(f"--{option.flag}", is_flag=True, **given)
    elif default is not None:
        given |= {"default": default, "show_default": True}
    if default is True:
        return click.option(f"--{option.flag}/--no-{option.flag}", **given)
    return click.option(f"--{option.flag}", type=_type(option, surface), **given)


def made(table: Iterable[Option], surface: Surface = "serve-copilot") -> tuple[Command, ...]:
    """The surface's flags of a table, in its order."""
    return tuple(flag(option, surface) for option in options.on(surface, table))


def flags(*groups: tuple[Command, ...]) -> Command:
    """A decorator that adds all flags of `groups`, in order."""

    def add(command: Command) -> Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


def _type(option: Option, surface: Surface) -> Any:
    """None lets click take the default's type. A config dataclass checks its own range, and names the flag.

    Limits without a default are of a whole number.
    """
    if option.choices:
        return click.Choice(option.choices)
    if option.path:
        return click.Path(path_type=Path)
    default = option.default(surface)
    if option.limits and (option.config is None or surface != "serve-copilot" or default is None):
        bounds: Any = click.FloatRange if isinstance(default, float) else click.IntRange
        return bounds(*option.limits)
    return None


MODEL_FLAGS = made(options.MODEL)
DTYPE_FLAGS = made(options.DTYPE)
RUNNER_FLAGS = made(options.RUNNER)
ENGINE_FLAGS = made(options.ENGINE)
SERVICE_FLAGS = made(options.SERVICE)
QUEUE_FLAGS = made(options.QUEUE)
ACCESS_FLAGS = made(options.ACCESS)
LOG_FLAGS = made(options.LOGGING)
