"""Known bases: which there are, which of them are on this disk, and which one `--base auto` means on this machine.

In: the disk's caches, the GPU's memory and the number of cores. Out: rows of a table; a name and the reason for it.
May import: `bases`, `gguf_base`, `untrusted`. No weights are read; only a base on the disk is opened.
"""
