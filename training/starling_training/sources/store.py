"""Cache of cleaned sources on disk, so that the next run on the same files starts at once.

There is one folder per source, with one subfolder for the state of its files, readable only by its owner. Secrets are
redacted before anything is written. A new state replaces the old one.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.parquet import ParquetFile, ParquetWriter

from starling_server.errors import OutputError
from starling_server.files import content, filters, languages, notebook
from starling_server.files.secrets import assigned, placed, plausible, providers, redact
from starling_training.sources import clean, dedup, origins, reading, tables
from starling_training.sources.clean import Cleaned, Document, Redaction
from starling_training.sources.origins import Origin

CODE: tuple[ModuleType, ...] = (
    clean, content, dedup, filters, languages, notebook, redact, assigned, placed, plausible, providers, reading,
    tables,
)  # fmt: skip
"""Modules that determine the content of a cleaned file: a change in one invalidates the cache."""
FILES, DROPPED, NEW = "files.parquet", "dropped.json", "."
ROWS = 256
"""Files written or read per batch."""
MOST_NAMED = 10_000
"""Max number of excluded files stored by name; the rest are only counted."""
SCHEMA = pa.schema({
    "path": pa.string(),
    "text": pa.large_string(),
    "sha256": pa.string(),
    "repository": pa.string(),
    "licence": pa.string(),
    "changed": pa.int64(),
    "redactions": pa.string(),
    "signature": pa.binary(),
})  # fmt: skip


def place(origin: Origin, fingerprint: Iterable[str]) -> Path:
    """The cache folder of a source in this state."""
    code = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in CODE)
    state = "\n".join([*fingerprint, code]).encode("utf-8", "replace")
    source = hashlib.sha256(os.fsencode(origin.path.resolve())).hexdigest()[:24]
    return origins.cache_home() / "corpora" / source / hashlib.sha256(state).hexdigest()[:24]


def holds(folder: Path) -> bool:
    """Whether a complete source is stored in `folder`."""
    return (folder / DROPPED).is_file()


def write(folder: Path, cleaned: Iterable[Cleaned | str]) -> None:
    """Store a source in `folder`, which appears only when complete; raises OutputError if the disk is full."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        room = Path(mkdtemp(prefix=NEW, dir=folder.parent))
    except OSError as error:
        raise _no_place(folder, error) from error
    try:
        _fill(room, cleaned)
        room.rename(folder)
    except OSError as error:
        if not holds(folder):  # otherwise another run finished first
            raise _no_place(folder, error) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
    for other in folder.parent.iterdir():
        if other != folder and not other.name.startswith(NEW):  # keep folders that another run is writing
            shutil.rmtree(other, ignore_errors=True)


def read(folder: Path) -> Iterator[Cleaned | str]:
    """What `write` stored: the files in order, then the reasons for the excluded ones."""
    table = ParquetFile(folder / FILES)  # open both first: a run on a newer state may remove the folder meanwhile
    dropped: dict[str, int] = json.loads((folder / DROPPED).read_text(encoding="utf-8"))
    for batch in table.iter_batches(ROWS):
        yield from map(_cleaned, batch.to_pylist())
    for reason, count in dropped.items():
        yield from [reason] * count


def _fill(room: Path, cleaned: Iterable[Cleaned | str]) -> None:
    dropped = Counter[str]()
    with ParquetWriter(room / FILES, SCHEMA, compression="zstd") as table:
        stream = iter(cleaned)
        while batch := list(islice(stream, ROWS)):
            for item in (item for item in batch if isinstance(item, str)):
                dropped[item if len(dropped) < MOST_NAMED else item.partition(clean.NAMED)[0]] += 1
            rows = [_row(item) for item in batch if isinstance(item, Cleaned)]
            table.write_table(pa.Table.from_pylist(rows, SCHEMA))
    (room / DROPPED).write_text(json.dumps(dropped), encoding="utf-8")


def _no_place(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"The cache {folder.parent} cannot be written to ({error.strerror or error}): free some space, or name another "
        "folder in STARLING_CACHE_DIR."
    )


def _row(item: Cleaned) -> dict[str, Any]:
    document = asdict(item.document)
    del document["weight"]
    redactions = json.dumps([asdict(redaction) for redaction in item.redactions])
    return {**document, "redactions": redactions, "signature": item.signature.tobytes()}


def _cleaned(row: dict[str, Any]) -> Cleaned:
    redactions = tuple(Redaction(**entry) for entry in json.loads(row.pop("redactions")))
    signature = np.frombuffer(row.pop("signature"), np.uint32)
    return Cleaned(Document(**row), redactions, signature)
