"""Cleaned sources on disk, so that the next run on the same files starts at once.

One folder per source and state of its files, readable by its owner alone; secrets are gone before anything is written.
"""

import hashlib
import json
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

from starling_training import clean, dedup, filters, languages, origins, redact, tables
from starling_training.clean import Cleaned, Document, Redaction

CODE: tuple[ModuleType, ...] = (clean, dedup, filters, languages, redact, tables)
"""Modules that decide what a cleaned file is: when one changes, what they made is made anew."""
FILES, DROPPED = "files.parquet", "dropped.json"
ROWS = 256
"""Files that are written or read at once."""
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


def place(fingerprint: Iterable[str]) -> Path:
    """The folder of a source in this state."""
    code = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in CODE)
    state = "\n".join([*fingerprint, code]).encode("utf-8", "replace")
    return origins.cache_home() / "corpora" / hashlib.sha256(state).hexdigest()[:24]


def holds(folder: Path) -> bool:
    """Whether a whole source is there."""
    return (folder / DROPPED).is_file()


def write(folder: Path, cleaned: Iterable[Cleaned | str]) -> None:
    """Keep a source in `folder`, which appears when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    room = Path(mkdtemp(prefix=".", dir=folder.parent))
    try:
        dropped = Counter[str]()
        with ParquetWriter(room / FILES, SCHEMA, compression="zstd") as table:
            stream = iter(cleaned)
            while batch := list(islice(stream, ROWS)):
                dropped.update(item for item in batch if isinstance(item, str))
                rows = [_row(item) for item in batch if isinstance(item, Cleaned)]
                table.write_table(pa.Table.from_pylist(rows, SCHEMA))
        (room / DROPPED).write_text(json.dumps(dropped), encoding="utf-8")
        room.rename(folder)
    except OSError:
        if not holds(folder):  # else another run was faster
            raise
    finally:
        shutil.rmtree(room, ignore_errors=True)


def read(folder: Path) -> Iterator[Cleaned | str]:
    """What `write` kept: the files in order, then the reasons of those left out."""
    for batch in ParquetFile(folder / FILES).iter_batches(ROWS):
        yield from map(_cleaned, batch.to_pylist())
    dropped: dict[str, int] = json.loads((folder / DROPPED).read_text(encoding="utf-8"))
    for reason, count in dropped.items():
        yield from [reason] * count


def _row(item: Cleaned) -> dict[str, Any]:
    document = asdict(item.document)
    del document["weight"]
    redactions = json.dumps([asdict(redaction) for redaction in item.redactions])
    return {**document, "redactions": redactions, "signature": item.signature.tobytes()}


def _cleaned(row: dict[str, Any]) -> Cleaned:
    redactions = tuple(Redaction(**entry) for entry in json.loads(row.pop("redactions")))
    signature = np.frombuffer(row.pop("signature"), np.uint32)
    return Cleaned(Document(**row), redactions, signature)
