"""Reads rows of code datasets as files, for several column naming schemes.

Recognised columns: smangrul/hf-stack-v1 (`content`, `file_path`, `repo_id`), bigcode/the-stack-dedup (`content`,
`max_stars_repo_path` and `_name`, `lang`), codeparrot and the-stack-smol (`path`, `repository_name`), and tables with
`text` and a `metadata` of these names, such as smangrul/hug_stack.

Sizes are not trusted: a few kB may expand to gigabytes. Lines are read in pieces, and parquet in batches with a max
size derived from the file's metadata. Rows beyond a limit are counted and left out.
"""

import gzip
import json
from collections.abc import Collection, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from pyarrow.lib import ArrowException
from pyarrow.parquet import ParquetFile

from starling_server.errors import SourceError
from starling_server.files import languages
from starling_training.sources.origins import GZIP, Origin

Row = Mapping[str, Any]

TEXTS = ("content", "text", "code", "whole_func_string")
PATHS = ("max_stars_repo_path", "file_path", "path", "file_name", "filename")
REPOSITORIES = ("max_stars_repo_name", "repository_name", "repo_name", "repo")
LICENCES = ("max_stars_repo_licenses", "licenses", "license")
LANGUAGES = ("lang", "language", "programming_language")
COLUMNS = frozenset({*TEXTS, *PATHS, *REPOSITORIES, *LICENCES, *LANGUAGES, "repo_id", "metadata"})
"""All columns that `file` reads."""
CORRUPT = "damaged row"
"""Reason for a line that is not an object, a row whose text is not a string, or a row group that cannot be decoded."""
NO_TEXT, NO_LANGUAGE, LARGE = "row without text", "row of no known language", "row over 8 MB"
BOMB = "row of a group that is packed over a hundredfold"
MOST_BYTES = 8_000_000
"""Max bytes of a row. A file of 1 MB, the largest used for training, has 6 MB if every character is escaped."""
BATCH_BYTES, BATCH_ROWS = 64_000_000, 256
"""Max bytes and rows of parquet decoded at once."""
BOMB_BYTES, BOMB_RATIO = 64_000_000, 100
"""A column of a row group whose unpacked bytes and compression ratio exceed both limits is left out; code compresses by
a factor of 3 to 10.
"""
PATH_CHARS, NAME_CHARS = 4_096, 200
"""Max characters of a path (Linux's limit), and of the name of a repository or licence."""
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def rows(origin: Origin, columns: Collection[str] = ()) -> Iterator[Row | str]:
    """The rows of a dataset one by one, never all in memory or copied to disk; a reason for each part left out.

    With `columns`, only these are read if the format allows it. Raises SourceError.
    """
    try:
        if origin.kind == "hub":
            yield from _hub(origin)
        elif origin.path.suffix == ".parquet":
            yield from _parquet(origin.path, columns)
        else:
            yield from _lines(origin.path)
    except SourceError:
        raise
    except Exception as error:  # datasets, pyarrow and the Hub client raise dozens of types
        said = str(error).strip().splitlines()
        raise SourceError(
            f"The source {origin.named} cannot be read ({said[0] if said else type(error).__name__}): "
            "check its name and format, and for the Hub the network and `hf auth login`."
        ) from error


def _lines(path: Path) -> Iterator[Row | str]:
    with gzip.open(path) if path.suffix == GZIP else path.open("rb") as stream:
        first = True
        while line := stream.readline(MOST_BYTES + 1):
            if first and line.startswith(_UTF16):
                raise SourceError(f"The source {path} is UTF-16: save it as UTF-8.")
            first = False
            if len(line) > MOST_BYTES:
                _skip_line(stream, line)
                yield LARGE
            elif not line.isspace():
                yield _parsed(line)


def _skip_line(stream: gzip.GzipFile | BufferedReader, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(1 << 20)


def _parsed(line: bytes) -> Row | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # also for huge numbers and deeply nested lists
        return CORRUPT
    return row if isinstance(row, dict) else CORRUPT


def _parquet(path: Path, columns: Collection[str]) -> Iterator[Row | str]:
    with ParquetFile(path) as table:
        wanted = [name for name in table.schema_arrow.names if not columns or name in columns]
        for group in range(table.num_row_groups):
            unpacked, packed = _sizes(table, group, wanted)
            if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * packed:
                yield from (BOMB for _ in range(table.metadata.row_group(group).num_rows))
                continue
            try:
                # No value is larger than its column without dictionary encoding and compression.
                rows_at_once = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, unpacked)))
                for batch in table.iter_batches(rows_at_once, [group], wanted, use_threads=False):
                    yield from _batch(batch)
            except (ArrowException, OSError):
                yield CORRUPT


def _sizes(table: ParquetFile, group: int, wanted: Collection[str]) -> tuple[int, int]:
    """Bytes of the largest wanted column of a row group, uncompressed and compressed."""
    columns = (table.metadata.row_group(group).column(n) for n in range(table.metadata.num_columns))
    sizes = ((c.total_uncompressed_size, c.total_compressed_size) for c in columns if _top(c.path_in_schema) in wanted)
    return max(sizes, default=(0, 0))


def _top(path: str) -> str:
    return path.partition(".")[0]


def _batch(batch: Any) -> Iterator[Row | str]:
    """The rows of a RecordBatch; a row that is too large is replaced by its reason."""
    if batch.nbytes <= MOST_BYTES:
        yield from batch.to_pylist()
        return
    for number in range(batch.num_rows):
        row = batch.slice(number, 1)
        yield LARGE if row.nbytes > MOST_BYTES else row.to_pylist()[0]


def _hub(origin: Origin) -> Iterator[Row | str]:
    from datasets import load_dataset

    yield from load_dataset(origin.dataset, origin.config, revision=origin.revision, split=origin.split, streaming=True)


def file(row: Row, number: int = 0) -> tuple[str, str, str, str] | str:
    """Path, text, repository and licence of a row, or the reason to exclude it.

    A row without a path is named by its `number` and the extension of its language.
    """
    fields = {**row["metadata"], **row} if isinstance(row.get("metadata"), Mapping) else row
    text, path = _first(fields, TEXTS), _first(fields, PATHS)
    if text is None:
        return NO_TEXT
    if not isinstance(text, str) or not isinstance(path, str | None):
        return CORRUPT
    if not path:
        named = _first(fields, LANGUAGES)
        extension = languages.extension(named) if isinstance(named, str) else languages.guess(text)
        if extension is None:
            return NO_LANGUAGE
        path = f"row-{number}{extension}"
    if len(path) > PATH_CHARS:
        return CORRUPT
    return _sound(path), text, _sound(_repository(fields, path))[:NAME_CHARS], _licence(fields)


def columns_of(row: Row) -> str:
    """The column names of a row, for an error message."""
    return ", ".join(sorted(_sound(str(name))[:NAME_CHARS] for name in list(row)[:20])) or "none"


def _licence(fields: Row) -> str:
    found = _first(fields, LICENCES)
    if isinstance(found, list):
        return _sound(", ".join(str(name)[:NAME_CHARS] for name in found[:5]))[:NAME_CHARS]
    return _sound(str(found)[:NAME_CHARS]) if isinstance(found, str | int | float) and found else ""


def _repository(fields: Row, path: str) -> str:
    """The repository's name. In hf-stack-v1, `repo_id` is a parent folder and the path begins with the repository."""
    for column in REPOSITORIES:
        if isinstance(fields.get(column), str):
            return fields[column]
    head, slash, _ = path.lstrip("/").partition("/")
    owner = fields.get("repo_id")
    return head if slash else owner if isinstance(owner, str) else ""


def _sound(text: str) -> str:
    """`text` without unpaired surrogates, which files and tables cannot hold."""
    return text.encode("utf-8", "replace").decode()


def _first(fields: Row, names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)
