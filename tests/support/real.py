"""Published weights and vocabularies that `make real-bases` fetches."""

from pathlib import Path

import pytest
import real_bases

QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"


def real(name: str = QWEN) -> Path:
    """One of these files; skips where it is absent."""
    path = real_bases.PLACE / name
    if not path.is_file():
        pytest.skip(f"{path} is not on this disk: make real-bases")
    return path
