"""Rows of a code dataset to files: whatever its columns are called.

Known by their columns: smangrul/hf-stack-v1 (`content`, `file_path`, `repo_id`), bigcode/the-stack-dedup (`content`,
`max_stars_repo_path` and `_name`, `lang`), codeparrot and the-stack-smol (`path`, `repository_name`), and tables with
`text` and a `metadata` of these names, as smangrul/hug_stack has.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyarrow.lib import ArrowException
from pyarrow.parquet import ParquetFile

from starling_server.errors import SourceError
from starling_training.origins import GZIP, Origin

Row = Mapping[str, Any]

TEXTS = ("content", "text", "code", "whole_func_string")
PATHS = ("max_stars_repo_path", "file_path", "path", "file_name", "filename")
REPOSITORIES = ("max_stars_repo_name", "repository_name", "repo_name", "repo")
LICENCES = ("max_stars_repo_licenses", "licenses", "license")
CORRUPT = "damaged row"
"""Reason for a line that is no object, a row without text or path, a group of rows that cannot be decoded."""


def rows(origin: Origin) -> Iterator[Row | str]:
    """The rows of a dataset one by one, never all in memory or copied to disk; a reason for each damaged part."""
    try:
        if origin.kind == "hub":
            yield from _hub(origin)
        elif origin.path.suffix == ".parquet":
            yield from _parquet(origin.path)
        else:
            yield from _lines(origin.path)
    except Exception as error:  # datasets, pyarrow and the Hub client raise dozens of kinds
        said = str(error).strip().splitlines()
        raise SourceError(
            f"The source {origin.named} cannot be read ({said[0] if said else type(error).__name__}): "
            "check its name and format, and for the Hub the network and `hf auth login`."
        ) from error


def _lines(path: Path) -> Iterator[Row | str]:
    with gzip.open(path) if path.suffix == GZIP else path.open("rb") as stream:
        for line in stream:
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            yield row if isinstance(row, dict) else CORRUPT


def _parquet(path: Path) -> Iterator[Row | str]:
    table = ParquetFile(path)
    for group in range(table.num_row_groups):
        try:
            yield from table.read_row_group(group).to_pylist()
        except (ArrowException, OSError):
            yield CORRUPT


def _hub(origin: Origin) -> Iterator[Row | str]:
    from datasets import load_dataset

    yield from load_dataset(origin.dataset, origin.config, revision=origin.revision, split=origin.split, streaming=True)


def file(row: Row) -> tuple[str, str, str, str] | str:
    """Path, text, repository and licence of a row, or the reason why it has none."""
    fields = {**(row.get("metadata") or {}), **row} if isinstance(row.get("metadata"), Mapping) else row
    text, path = _first(fields, TEXTS), _first(fields, PATHS)
    if not isinstance(text, str) or not isinstance(path, str):
        return CORRUPT
    licence = _first(fields, LICENCES) or ""
    named = ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence)
    return path, text, _repository(fields, path), named


def _repository(fields: Row, path: str) -> str:
    """The repository's name. In hf-stack-v1 `repo_id` is a parent folder; the path begins with the repository."""
    for column in REPOSITORIES:
        if isinstance(fields.get(column), str):
            return fields[column]
    head, slash, _ = path.lstrip("/").partition("/")
    return head if slash else str(fields.get("repo_id") or "")


def _first(fields: Row, names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)
