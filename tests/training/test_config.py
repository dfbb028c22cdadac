"""Settings name their flag when they cannot work, and resolve by the base."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from starling_server.bases import Base
from starling_server.errors import BaseModelError, UsageError
from starling_training import qlora
from starling_training.config import DataConfig, LoraConfig, OptimConfig, TrainConfig, peak_rate, resolve


def base(context: int, width: int) -> Base:
    config = {"model_type": "starcoder2", "max_position_embeddings": context, "hidden_size": width}
    return Base("some/base", Path(), None, config)


ASKED = TrainConfig(("a",), "a", Path())


@pytest.mark.parametrize(
    ("group", "name", "value", "flag"),
    [
        (DataConfig, "fim_rate", 1.5, "--fim-rate"),
        (DataConfig, "held_out", 0.9, "--held-out"),
        (DataConfig, "max_tokens", 0, "--max-tokens"),
        (LoraConfig, "rank", 0, "--rank"),
        (LoraConfig, "dropout", 1.0, "--dropout"),
        (OptimConfig, "epochs", 0, "--epochs"),
        (OptimConfig, "max_minutes", -1, "--max-minutes"),
        (OptimConfig, "warmup", 1.0, "--warmup"),
        (OptimConfig, "patience", 0, "--patience"),
    ],
)
def test_values_that_cannot_work(group: Any, name: str, value: float, flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        group(**{name: value})


def test_the_window_is_the_base_s_up_to_a_limit() -> None:
    assert resolve(ASKED, base(16384, 3072)).data.context_tokens == 2048
    assert resolve(ASKED, base(1024, 320)).data.context_tokens == 1024


def test_a_window_that_the_base_has_not_learnt_is_refused() -> None:
    asked = replace(ASKED, data=DataConfig(context_tokens=4096))
    with pytest.raises(UsageError, match="2048 at most"):
        resolve(asked, base(2048, 2048))
    with pytest.raises(UsageError, match="--max-tokens"):
        resolve(replace(ASKED, data=DataConfig(context_tokens=100)), base(2048, 2048))


def test_the_rate_depends_on_the_width_and_can_be_set() -> None:
    assert peak_rate(2048) == peak_rate(6144) == 2e-4
    assert peak_rate(320) == pytest.approx(2e-4 * 2048 / 320)
    assert resolve(replace(ASKED, optim=OptimConfig(learning_rate=1e-5)), base(2048, 320)).optim.learning_rate == 1e-5


@pytest.mark.parametrize(("loss", "vocabulary"), [(9.0, 8192), (7.3, 8192), (10.8, 49152)])
def test_a_base_that_guesses_is_refused(loss: float, vocabulary: int) -> None:
    with pytest.raises(BaseModelError, match="untrained or damaged"):
        qlora.check_start(loss, vocabulary)


def test_an_unusual_start_is_noted_and_a_usual_one_is_not() -> None:
    assert "4.60" in str(qlora.check_start(4.6, 8192))
    assert qlora.check_start(1.1, 49152) is None
