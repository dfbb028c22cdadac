"""Python's garbage collector in a process that loads a model once and then serves for days."""

import gc


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
