"""Which files are source code, by extension or by whole name."""

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
"""Extensions in lower case, by language. Prose and data (Markdown, JSON, YAML, TOML) are left out on purpose: an
adapter of a few million parameters is spent on code."""
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
    """The language of the file at `path`, None where it is no source code."""
    file = PurePosixPath(path)
    return NAMES.get(file.name) or _BY_EXTENSION.get(file.suffix.lower())
