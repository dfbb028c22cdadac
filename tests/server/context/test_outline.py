# ruff: noqa: E501
"""Definitions and imports of eleven languages, and texts that a parser must not be given without bounds."""

from collections.abc import Generator

import pytest

from starling_server.context.imports import Import, imports
from starling_server.context.outline import Outline, outline, pack, unpack
from starling_server.context.queries import QUERIES
from starling_server.postprocess.parser_client import client
from starling_server.postprocess.syntax import GRAMMARS

SOURCES = {
    "C": '#include "net/socket.h"\n// Adds numbers.\nstatic int *add(int a, int b)\n{\n  return 0;\n}\n#define MAX 3\n',
    "C#": "using System.Text;\n/// Adds numbers.\npublic class Add : Sum {\n  public int Max { get; set; }\n}\n",
    "C++": "#include <vector>\n/** Adds numbers. */\nclass Add : public Sum {\n  int max(int) const { return 1; }\n};\n",
    "Go": 'package a\nimport (\n  "fmt"\n  x "net/http"\n)\n// Adds numbers.\nfunc (s *S) Add(a int) error { return nil }\n',
    "Java": "import net.http.Client;\n/** Adds numbers. */\npublic class Add extends Sum {\n  static final int MAX = 1;\n}\n",
    "JavaScript": 'import {a} from "./net/http.js";\n// Adds numbers.\nexport const add = (a) => {\n  return 1;\n};\n',
    "PHP": "<?php\nuse Net\\Http\\Client;\n/** Adds numbers. */\nfunction add(int $a): int { return 1; }\n",
    "Python": 'from net.http import (\n    Client,\n)\n\ndef add(a: int) -> int:\n    """Adds numbers."""\n    return a\n\nMAX = 1\n',
    "Ruby": 'require_relative "net/http"\n# Adds numbers.\nclass Add < Sum\n  MAX = 1\nend\n',
    "Rust": "use crate::net::http::Client;\n/// Adds numbers.\n#[derive(Debug)]\npub struct Add { a: i32 }\n",
    "TypeScript": 'import type { A } from "../net/http";\n/** Adds numbers. */\nexport interface Add { max(a: number): string }\n',
}
"""Each imports net/http or the like, and defines `add` or `Add` with a doc."""
SIGNATURES = {
    "C": "static int *add(int a, int b)",
    "C#": "public class Add : Sum",
    "C++": "class Add : public Sum",
    "Go": "func (s *S) Add(a int) error",
    "Java": "public class Add extends Sum",
    "JavaScript": "export const add = (a) =>",
    "PHP": "function add(int $a): int",
    "Python": "def add(a: int) -> int:",
    "Ruby": "class Add < Sum",
    "Rust": "pub struct Add",
    "TypeScript": "export interface Add",
}
HOSTILE = "%w(%q(%Q(" * 20_000
"""tree-sitter's error recovery took 900 MB and 3 seconds of C for an eighth of it."""


@pytest.fixture(autouse=True, scope="module")
def rested() -> Generator[None]:
    yield
    client("index").rest()


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_a_definition_has_its_signature_and_its_doc(language: str) -> None:
    found = outline(SOURCES[language], language)
    (added,) = (each for each in found.definitions if each.name.lower() == "add")
    assert (added.signature, added.doc) == (SIGNATURES[language], "Adds numbers.")
    assert len(found.imports) == 1
    assert unpack(pack(found)) == found


@pytest.mark.parametrize("language", sorted(GRAMMARS))
def test_imports_read_by_line_name_what_the_tree_names(language: str) -> None:
    (statement,) = outline(SOURCES[language], language).imports
    by_line = imports(SOURCES[language])
    assert by_line
    assert [each.module for each in by_line] == [each.module for each in imports(statement)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("from ..net.http import Client as C, get", Import(("net", "http"), True, ("Client", "C", "get"))),
        ("from . import models", Import((), True, ("models",))),
        ("import a.b as c", Import(("a", "b"), False, ("c",))),
        ('const { x } = require("../net/http.js")', Import(("net", "http"), True, ("x",))),
        ("use crate::a::b::{C, D};", Import(("a", "b"), True, ("C", "D"))),
        ('#include "a/b.hpp"', Import(("a", "b"), False, ())),
    ],
)
def test_import_statements(line: str, expected: Import) -> None:
    assert imports(f"\n{line}\n") == (expected,)


def test_every_grammar_has_a_query() -> None:
    assert QUERIES.keys() == GRAMMARS.keys()


def test_a_hostile_text_ends_its_parser_and_not_the_index() -> None:
    assert outline(HOSTILE, "C") == Outline()
    assert outline(SOURCES["Python"], "Python").definitions
    assert outline("anything", "Haskell") == outline("anything", None) == Outline()
