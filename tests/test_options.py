"""The tables of options and what repeats them: flags, the language server, VS Code's package.json, Neovim's help."""

import json
import re
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from starling_lsp.cli import starling_lsp
from starling_lsp.options import CLIENTS, OPTIONS, OWN, Options
from starling_server import options as shared
from starling_server.options import Option, Surface, field_default, on
from starling_server.serve.cli import serve_copilot
from starling_training.evaluation.eval_cli import holes
from starling_training.train_cli import train_copilot

EDITORS = Path(__file__).parents[1] / "editor-configs"
PACKAGE = EDITORS / "vscode" / "package.json"
SETTINGS = EDITORS / "vscode" / "src" / "settings.ts"
HELP = EDITORS / "neovim" / "doc" / "starling.txt"
LUA = EDITORS / "neovim" / "lua" / "starling" / "options.lua"
ALL = (*shared.OPTIONS, *OWN)
COLUMN, WIDTH = 16, 78
TYPES: dict[type[Any], str] = {bool: "boolean", int: "integer", str: "string"}


def vscode_name(option: Option) -> str:
    return option.names.get("vscode", option.camel)


def flag_name(option: Option) -> str:
    return option.flag


def vscode_setting(option: Option) -> dict[str, Any]:
    """What the table says of a setting: some of package.json's members."""
    default, text = option.default("vscode"), option.text("vscode")
    kind = ["string", "null"] if option.camel in {"server", "adapter"} else TYPES.get(type(default), "object")
    setting: dict[str, Any] = {"type": kind, "default": default}
    setting["markdownDescription" if "`" in text else "description"] = text
    if option.choices:
        setting["enum"] = list(option.choices)
        if option.enum_texts:
            setting["enumDescriptions"] = list(option.enum_texts)
    if option.limits:
        setting |= {"minimum": option.limits[0], "maximum": option.limits[1]}
    return setting


def neovim_entry(option: Option) -> str:
    """The lines of an option in Neovim's help."""
    default = option.default("neovim")
    text = option.text("neovim") + (f" Default: '{default}'." if isinstance(default, str) else "")
    name = option.name.ljust(COLUMN)
    return textwrap.fill(
        text, WIDTH, initial_indent=name, subsequent_indent=" " * COLUMN, break_on_hyphens=False, break_long_words=False
    )


@pytest.mark.parametrize("option", on("vscode", OPTIONS), ids=vscode_name)
def test_vs_code_has_the_table_s_setting(option: Option) -> None:
    name = vscode_name(option)
    found = json.loads(PACKAGE.read_text(encoding="utf-8"))["contributes"]["configuration"]["properties"]
    setting = found.get(f"starling.{name}", {})
    wanted = vscode_setting(option)
    paste = [f"{json.dumps(key)}: {json.dumps(wanted[key])}" for key in wanted if setting.get(key) != wanted[key]]
    lines = "\n".join(f"          {line}," for line in paste)
    assert not paste, f"{PACKAGE}: put these lines into starling.{name}:\n{lines}"
    extra = sorted(
        setting.keys() & {"description", "markdownDescription", "enum", "minimum", "maximum"} - wanted.keys()
    )
    assert not extra, f"{PACKAGE}: take {', '.join(extra)} out of starling.{name}"


def test_vs_code_has_no_setting_beside_the_table() -> None:
    found = json.loads(PACKAGE.read_text(encoding="utf-8"))["contributes"]["configuration"]["properties"]
    own = {re.sub(r"_(.)", lambda match: match[1].upper(), name) for name in CLIENTS}
    known = {f"starling.{vscode_name(option)}" for option in on("vscode", OPTIONS)}
    assert found.keys() - known <= {f"starling.{name}" for name in own}


def test_vs_code_passes_every_setting_to_the_language_server() -> None:
    passed = re.search(r"const passed = (\[.*?\]);", SETTINGS.read_text(encoding="utf-8"), re.DOTALL)
    names = [option.camel for option in on("vscode", OPTIONS) if option.camel != "server"]
    assert passed
    assert sorted(json.loads(passed[1])) == sorted(names), f"{SETTINGS}: const passed = {json.dumps(names)};"


@pytest.mark.parametrize("option", on("neovim", OPTIONS), ids=flag_name)
def test_neovim_s_help_has_the_table_s_entry(option: Option) -> None:
    entry = neovim_entry(option)
    assert f"\n{entry}\n" in HELP.read_text(encoding="utf-8"), f"{HELP}: put these lines there:\n{entry}"
    line = f"---@field {option.name}? "
    assert line in LUA.read_text(encoding="utf-8"), f"{LUA}: put a line there that begins with {line}"


def test_the_language_server_takes_exactly_the_table_s_options() -> None:
    named = {option.name: option for option in OPTIONS}
    assert len(named) == len(OPTIONS)
    assert named.keys() == {item.name for item in fields(Options)}
    for name, option in named.items():
        assert option.default("initializationOptions") == field_default(Options, name), name


@pytest.mark.parametrize(
    ("command", "surface"),
    [
        (serve_copilot, "serve-copilot"),
        (train_copilot, "train-copilot"),
        (holes, "eval-copilot"),
        (starling_lsp, "starling-lsp"),
    ],
)
def test_flags_are_the_table_s(command: click.Command, surface: Surface) -> None:
    flags = {flag.name: flag for flag in command.params if isinstance(flag, click.Option)}
    table = (*OPTIONS, *shared.LOGGING) if surface == "starling-lsp" else shared.OPTIONS
    for option in on(surface, table):
        flag = flags[option.name]
        assert (flag.help, flag.multiple) == (option.text(surface), option.multiple)
        assert flag.to_info_dict()["opts"] == [f"--{option.flag}"]
        default = option.default(surface)
        if not option.multiple and default is not None and default is not False:
            assert flag.default == default


def test_defaults_are_not_repeated() -> None:
    """An entry has a default of its own only where no dataclass holds the option, or where a surface differs."""
    for option in ALL:
        if option.config is not None:
            assert option.fallback is None, option.name
            default = field_default(option.config, option.name)
            assert all(value != default for value in option.defaults.values()), option.name


def test_every_option_is_described_in_sentences() -> None:
    for option in ALL:
        surfaces = option.surfaces
        assert set(surfaces) <= set(get_args(Surface)), option.name
        for surface in surfaces:
            assert option.text(surface)[0].isupper(), option.name
            assert option.text(surface).endswith((".", ".)")), option.name
