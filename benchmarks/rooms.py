"""The structure of the code: modules per package, their lines, imports between packages, and import cycles.

    python benchmarks/rooms.py [--root CHECKOUT]

A room is a package: a folder with modules of its own. An arrow leads from a room to another one that it imports,
including imports inside functions. Upward arrows are those that the layers in pyproject.toml forbid; `make check` fails
on them, so here they are counted as arrows in a cycle. The last line is JSON.
"""

import argparse
import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

PACKAGES = {"starling_server": "server", "starling_training": "training", "starling_lsp": "lsp"}


@dataclass(frozen=True, slots=True)
class Room:
    """One package, without its subpackages."""

    name: str
    modules: int
    """Without `__init__` and `__main__`."""
    median_lines: float
    largest: str
    largest_lines: int


def modules(root: Path) -> dict[str, Path]:
    """Dotted name and file of every module."""
    found = dict[str, Path]()
    for package, folder in PACKAGES.items():
        for file in sorted((root / folder / package).rglob("*.py")):
            found[".".join(file.relative_to(root / folder).with_suffix("").parts)] = file
    return found


def room_of(module: str) -> str:
    """The package of a module."""
    return module.rpartition(".")[0]


def node(module: str) -> str:
    """The node of a module: its room, or the module itself if it is directly in the top-level package."""
    room = room_of(module)
    return module if room in PACKAGES else room


def rooms(files: Mapping[str, Path]) -> Iterator[Room]:
    """The packages with modules of their own, by name."""
    for name in sorted({room_of(module) for module in files}):
        lines = {
            module: file.read_text(encoding="utf-8").count("\n")
            for module, file in files.items()
            if room_of(module) == name and file.stem not in {"__init__", "__main__"}
        }
        if lines:
            largest = max(lines, key=lambda module: lines[module])
            yield Room(name, len(lines), median(lines.values()), largest.rpartition(".")[2], lines[largest])


def imports(files: Mapping[str, Path]) -> set[tuple[str, str]]:
    """Pairs of the project's modules; the first imports the second."""
    return {(module, target) for module, file in files.items() for target in _imported(file, files)}


def _imported(file: Path, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            for alias in node.names:
                within = f"{node.module}.{alias.name}"
                names = (within, f"{within}.__init__", node.module, f"{node.module}.__init__")
                yield next(name for name in names if name in files)


def circle(arrows: set[tuple[str, str]]) -> list[str]:
    """Rooms in an import cycle; empty without one."""
    sorter = TopologicalSorter[str]()
    for source, target in arrows:
        sorter.add(source, target)
    try:
        sorter.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def main() -> None:
    """Print a line for each room, then everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="a checkout of this project")
    files = modules(parser.parse_args().root.resolve())
    found = list(rooms(files))
    for room in found:
        print(
            f"{room.name:45} {room.modules:3} modules, {room.median_lines:5.0f} lines in the median, "
            f"{room.largest_lines:3} in {room.largest}"
        )
    pairs = imports(files)
    arrows = {(node(a), node(b)) for a, b in pairs if node(a) != node(b)}
    lines = [path.read_text(encoding="utf-8").count("\n") for name, path in files.items() if "__" not in name]
    print(
        json.dumps(
            {
                "rooms": [asdict(room) for room in found],
                "modules": sum(room.modules for room in found),
                "median_lines": median(lines),
                "largest_lines": max(lines),
                "imports": len(pairs),
                "arrows between rooms": len(arrows),
                "circle": circle(arrows),
            }
        )
    )


if __name__ == "__main__":
    main()
