"""Output of all benchmarks: a description of the machine, a table for people, and one line of JSON at the end.

Imported before torch, it also sets the environment variables that the commands set for themselves.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

for name, value in (("TOKENIZERS_PARALLELISM", "false"), ("HF_HUB_OFFLINE", "1"), ("GOMP_SPINCOUNT", "10000")):
    os.environ.setdefault(name, value)
PACKAGES = ("starling", "torch", "transformers", "peft", "bitsandbytes", "llama-cpp-python")


def machine() -> dict[str, Any]:
    """The machine of this run; `load` is the number of runnable threads at the start."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def p50(values: Sequence[float]) -> float:
    """The median."""
    return median(values)


def p90(values: Sequence[float]) -> float:
    """The 90th percentile, interpolated."""
    return quantiles(values, n=10, method="inclusive")[-1] if len(values) > 1 else values[0]


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """`ours / theirs`; None if either was not measured."""
    return round(ours / theirs, 3) if ours is not None and theirs else None


def show(title: str, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a table with a column for each side and a row for each figure."""
    table = Table("", *columns, title=title, title_justify="left")
    for figure in dict.fromkeys(key for column in columns.values() for key in column):
        table.add_row(figure, *(_cell(column.get(figure)) for column in columns.values()))
    Console().print(table)


def last_line(figures: Mapping[str, Any]) -> None:
    """Print the JSON line for programs."""
    print(json.dumps(figures))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
