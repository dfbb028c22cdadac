"""The corpus as one sequence: every pass holds every document once, whole and in another order."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from starling_training.base.stream import ENDS, IDS, Stream

DOCUMENTS = [[10 + n] * n + [0] for n in (1, 5, 2, 9, 3, 4)]
TOKENS = sum(map(len, DOCUMENTS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("stream")
    np.save(made / IDS, np.concatenate([np.array(ids, np.uint16) for ids in DOCUMENTS]))
    np.save(made / ENDS, np.cumsum([len(ids) for ids in DOCUMENTS]))
    return made


def documents(ids: list[int]) -> list[list[int]]:
    cuts = [at + 1 for at, i in enumerate(ids) if i == 0]
    return [ids[start:end] for start, end in zip([0, *cuts], cuts, strict=False)]


def test_every_pass_holds_every_document_once(folder: Path) -> None:
    stream = Stream(folder, seed=1)
    passes = [stream.read(number * TOKENS, TOKENS).tolist() for number in range(4)]
    assert stream.tokens == TOKENS
    assert all(sorted(documents(ids)) == sorted(DOCUMENTS) for ids in passes)
    assert len({tuple(ids) for ids in passes}) > 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 3 * TOKENS), count=st.integers(1, 2 * TOKENS))
def test_any_stretch_is_a_part_of_the_whole(folder: Path, position: int, count: int) -> None:
    stream = Stream(folder, seed=0)
    whole = stream.read(0, 5 * TOKENS + 1)
    assert stream.read(position, count).tolist() == whole[position : position + count].tolist()
