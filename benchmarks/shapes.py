"""Bases of the released StarCoders' sizes with random weights; speed does not depend on the values of weights.

    python benchmarks/shapes.py 1b [--gguf q4_0]

Writes a base into the cache folder in Hugging Face's layout, in bfloat16, with the bundled base's tokenizer (its 8,192
ids and their sentinels are a part of the vocabulary), and with --gguf also Starling's export of it. Existing files are
kept. `1b` has StarCoderBase-1B's shape: 24 blocks, width 2,048, 16 heads that share one key and value head, 8,192
positions, 49,152 ids.
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from peers import cache_folder
from report import last_line

from starling_server.backends.llamacpp.gguf_export import KINDS, Kind
from starling_server.models import bases
from starling_server.models.bases import TINY_DIR

SHAPES = {
    "toy": (2, 128, 2, 8192),
    "small": (12, 1024, 8, 8192),
    "1b": (24, 2048, 16, 49152),
    "3b": (36, 2816, 22, 49152),
    "7b": (42, 4096, 32, 49152),
    "10b": (45, 4608, 36, 49152),
    "15.5b": (40, 6144, 48, 49152),
}
"""Blocks, width, heads and vocabulary. 10b was never released; textbooks use that size for memory figures."""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def named(base: str) -> str:
    """The base for `--base`: a shape's folder, written if it is missing, or any other value unchanged."""
    return str(written(base)) if base in SHAPES else base


def written(name: str) -> Path:
    """The folder of this shape's base."""
    folder = cache_folder("shapes", name)
    if not (folder / "config.json").is_file():
        from random_weights import config, save

        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as room:
            made = Path(room) / name
            save(config(*SHAPES[name]), made)
            for file in TOKENIZER:
                shutil.copy(TINY_DIR / file, made / file)
            made.replace(folder)
    return folder


def exported(base: str, kind: Kind) -> Path:
    """The base (a name that `bases.find` accepts) as GGUF, from Starling's export."""
    from starling_server.backends.llamacpp.gguf_export import export_cache

    found = bases.find(base)
    return export_cache.base(found, bases.fingerprint(found), kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--gguf", choices=KINDS, action="append", default=[])
    asked = parser.parse_args()
    base = named(asked.shape)
    kinds = cast("list[Kind]", asked.gguf)
    last_line({"base": base, **{kind: str(exported(base, kind)) for kind in kinds}})


if __name__ == "__main__":
    main()
