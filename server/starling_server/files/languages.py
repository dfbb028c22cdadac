"""Detection of source code by extension, by file name or, without a name, by text."""

import re
from pathlib import PurePosixPath

EXTENSIONS = {
    "Ada": ".adb .ads",
    "Assembly": ".asm .s",
    "C": ".c .h",
    "C#": ".cs",
    "C++": ".cc .cpp .cxx .hh .hpp .hxx .ipp",
    "CMake": ".cmake",
    "CSS": ".css .less .sass .scss",
    "CUDA": ".cu .cuh",
    "Clojure": ".clj .cljc .cljs",
    "Crystal": ".cr",
    "D": ".d",
    "Dart": ".dart",
    "Elixir": ".ex .exs",
    "Elm": ".elm",
    "Erlang": ".erl .hrl",
    "F#": ".fs .fsi .fsx",
    "Fortran": ".f .f03 .f08 .f90 .f95 .for",
    "GLSL": ".frag .glsl .vert",
    "Go": ".go",
    "GraphQL": ".graphql",
    "Groovy": ".gradle .groovy",
    "HCL": ".hcl .tf",
    "HTML": ".htm .html",
    "Haskell": ".hs .lhs",
    "Java": ".java",
    "JavaScript": ".cjs .js .jsx .mjs",
    "Julia": ".jl",
    "Kotlin": ".kt .kts",
    "Lisp": ".cl .el .lisp .rkt .scm",
    "Lua": ".lua",
    "Make": ".mk",
    "Nim": ".nim",
    "Nix": ".nix",
    "OCaml": ".ml .mli",
    "Objective-C": ".m .mm",
    "PHP": ".php",
    "Pascal": ".pas",
    "Perl": ".pl .pm",
    "PowerShell": ".ps1 .psm1",
    "Protocol Buffer": ".proto",
    "Python": ".ipynb .pxd .py .pyi .pyx",
    "R": ".r",
    "Ruby": ".gemspec .rake .rb",
    "Rust": ".rs",
    "SQL": ".sql",
    "Scala": ".sbt .scala",
    "Shell": ".bash .fish .sh .zsh",
    "Solidity": ".sol",
    "Starlark": ".bzl",
    "Swift": ".swift",
    "Tcl": ".tcl",
    "Templates": ".j2 .jinja",
    "TypeScript": ".cts .mts .ts .tsx",
    "VHDL": ".vhd .vhdl",
    "Verilog": ".sv .svh .v",
    "Vim script": ".vim",
    "Visual Basic": ".vb",
    "Vue": ".svelte .vue",
    "Zig": ".zig",
}
"""Extensions in lower case, by language. Prose and data (Markdown, JSON, YAML, TOML) are left out on purpose: the
capacity of an adapter, a few million parameters, is kept for code.
"""
NAMES = {
    "BUILD": "Starlark",
    "CMakeLists.txt": "CMake",
    "Containerfile": "Docker",
    "Dockerfile": "Docker",
    "GNUmakefile": "Make",
    "Gemfile": "Ruby",
    "Jenkinsfile": "Groovy",
    "Justfile": "Just",
    "Makefile": "Make",
    "Rakefile": "Ruby",
    "SConstruct": "Python",
    "makefile": "Make",
    "meson.build": "Meson",
}
_BY_EXTENSION = {extension: name for name, all_of in EXTENSIONS.items() for extension in all_of.split()}


def language(path: str) -> str | None:
    """The language of the file at `path`; None if it is not source code."""
    file = PurePosixPath(path)
    return NAMES.get(file.name) or _BY_EXTENSION.get(file.suffix.lower())


_ALIASES = {
    "bash": "Shell", "c-sharp": "C#", "csharp": "C#", "cpp": "C++", "golang": "Go", "js": "JavaScript",
    "py": "Python", "python3": "Python", "sh": "Shell", "ts": "TypeScript",
}  # fmt: skip
_USUAL = {"c++": ".cpp", "javascript": ".js", "python": ".py", "typescript": ".ts", "visual basic": ".vb"}
_EXTENSION_OF = {name.lower(): all_of.split()[0] for name, all_of in EXTENSIONS.items()} | _USUAL
_HEAD_CHARS = 4_000
_LOOKS = tuple(
    (name, re.compile(pattern, re.MULTILINE))
    for name, pattern in (
        (
            "Python",
            r"^(?:#!.{0,80}python|[ \t]{0,40}(?:async )?def \w+\(|class \w+[^;{]{0,80}:$|from [\w.]+ import |"
            r"import [\w.]+$)",
        ),
        ("Shell", r"^#!.{0,80}\b(?:ba|da|z)?sh\b"),
        ("PHP", r"^<\?php"),
        ("Rust", r"^[ \t]{0,40}(?:pub )?(?:fn \w+|impl |use \w+::|mod \w+;)"),
        ("Go", r"^(?:package \w+$|func (?:\(|\w+\())"),
        ("C#", r"^(?:using [\w.]+;|namespace [\w.]+)"),
        (
            "Java",
            r"^(?:package [\w.]+;|import (?:static )?[\w.*]+;|public (?:final |abstract )?(?:class|interface|enum) )",
        ),
        ("C++", r"^(?:#include <\w+>|template ?<|using namespace |namespace \w+ ?\{)"),
        ("C", r'^#(?:include [<"][\w./]+\.h|define \w+)'),
        ("TypeScript", r"^(?:import .{1,80} from ['\"]|(?:export )?(?:interface|type) \w+)"),
        ("JavaScript", r"^(?:(?:export )?(?:async )?function \w*\(|const \w+ = |(?:var|let) \w+ = |module\.exports)"),
        ("Ruby", r"^(?:require ['\"]|module [A-Z]\w*$|[ \t]{0,40}def [a-z]\w*[?!]?$)"),
    )
)
"""Line patterns that identify a language. The language with the most matching lines is chosen; in a tie, the first."""


def extension(named: str) -> str | None:
    """The usual extension, such as `.py`, of the language that a data set calls `named`; None if unknown."""
    known = named.strip().lower()
    known = _ALIASES.get(known, known).lower()
    return _EXTENSION_OF.get(known) or (f".{known}" if f".{known}" in _BY_EXTENSION else None)


def guess(text: str) -> str | None:
    """The usual extension of the language detected at the beginning of `text`; None if no language is detected."""
    head = text[:_HEAD_CHARS]
    counts = {name: len(pattern.findall(head)) for name, pattern in _LOOKS}
    best = max(counts, key=lambda name: counts[name])
    return _EXTENSION_OF[best.lower()] if counts[best] else None
