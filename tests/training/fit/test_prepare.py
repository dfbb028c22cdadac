"""Data in the clothes of code: the base says which it is."""

from base64 import b64encode
from pathlib import Path
from random import Random

import pytest

from starling_server.backends.torch.loading import Loaded
from starling_server.errors import SourceError
from starling_training.fit import base_loss
from starling_training.sources import corpus
from starling_training.sources.clean import Document


def test_data_costs_more_than_code(tiny: Loaded, source: str) -> None:
    random = Random(0)
    rows = "".join(f'    "{b64encode(random.randbytes(45)).decode()}",\n' for _ in range(99))
    documents = [Document("code.py", source, ""), Document("dump.py", f"ROWS = [\n{rows}]\n", "")]
    told = list[int]()
    code, dump = base_loss.losses(tiny, documents, told.append)
    assert dump > code + 0.5
    assert told == [1, 2]
    assert base_loss.losses(tiny, [Document("short.py", "x = 1\n", "")], told.append) == [0.0]


def test_a_corpus_without_some_of_its_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(4):
            text = "".join(f"def {folder}{number}_{n}(value):\n    return value + {n}\n" for n in range(40))
            (tmp_path / folder / f"f{number}.py").write_text(text)
    read = corpus.read([tmp_path / "a", tmp_path / "b"])
    less = read.without({0, 5, 6}, "loss above 3")
    assert [document.path for document in less.documents] == ["f1.py", "f2.py", "f3.py", "f0.py", "f3.py"]
    assert less.counts == (3, 2)
    assert less.dropped == {"loss above 3": 3}
    assert len(less.signatures) == 5
    assert read.without(set(), "nothing").dropped == {}
    with pytest.raises(SourceError, match="8 loss above 3"):
        read.without(range(8), "loss above 3")
