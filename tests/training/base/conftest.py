"""A small stream to pre-train on: our own server's source."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from starling_server.backends.torch.loading import Loaded
from starling_training.base import stream
from starling_training.base.stream import Stream

SOURCES = sorted((Path(__file__).parents[3] / "server" / "starling_server").rglob("*.py"))


@pytest.fixture(scope="session")
def made(tiny: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Stream:
    folder = tmp_path_factory.mktemp("stream")
    texts = [path.read_text(encoding="utf-8") for path in SOURCES]
    stream.write(texts, Tokenizer.from_file(str(tiny.base.path / "tokenizer.json")), tiny.fim.end, folder)
    return Stream(folder, seed=0)
