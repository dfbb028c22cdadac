"""Settings name their flag when they cannot work, and resolve by the base."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from starling_server.errors import BaseModelError, UsageError
from starling_server.models.bases import Base
from starling_training.config import DataConfig, LoraConfig, OptimConfig, TrainConfig, peak_rate, resolve
from starling_training.fit import methods
from starling_training.train_cli import train_copilot


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
        (OptimConfig, "warmup", 0.95, "--warmup"),
        (OptimConfig, "warmup", 1.5, "--warmup"),
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
    with pytest.raises(UsageError, match="use at most 2048"):
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
        methods.check_start(loss, vocabulary)


def test_an_unusual_start_is_noted_and_a_usual_one_is_not() -> None:
    assert "4.60" in str(methods.check_start(4.6, 8192))
    assert methods.check_start(1.1, 49152) is None


PUBLISHED = {
    "base": "bigcode/starcoderbase-1b",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "lora_target_modules": ["c_proj", "c_attn", "q_attn", "c_fc"],
    "load_in_4bit": False,
    "learning_rate": 5e-4,
    "num_warmup_steps": 30,
    "weight_decay": 0.01,
    "max_steps": 100,
    "batch_size": 4,
    "gradient_accumulation_steps": 1,
    "seq_length": 2048,
    "fim_rate": 0.5,
    "fim_spm_rate": 0.5,
}
"""The published run's own names and values."""


def resolved(*arguments: str) -> TrainConfig:
    """What the command would train with, for a base with a context of 8,192 and a width of 2,048."""
    seen = list[TrainConfig]()

    def note(config: TrainConfig, *_: object) -> None:
        seen.append(config)

    def nothing(*_: object) -> None:
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("starling_training.sources.corpus.read", nothing)
        patch.setattr("starling_training.training_run.run", note)
        train_copilot.main(["somewhere", *arguments], standalone_mode=False)
    shape = {"model_type": "gpt_bigcode", "n_positions": 8192, "n_embd": 2048}
    return resolve(seen[0], Base(seen[0].model.base, Path(), None, shape))


def test_the_p100_preset_is_the_published_run() -> None:
    config = resolved("--preset", "p100")
    ours = {
        "base": config.model.base,
        "lora_r": config.lora.rank,
        "lora_alpha": config.lora.alpha,
        "lora_dropout": config.lora.dropout,
        "lora_target_modules": config.lora.layers,
        "load_in_4bit": config.model.quantize != "none",
        "learning_rate": config.optim.learning_rate,
        "num_warmup_steps": config.optim.warmup,
        "weight_decay": config.optim.weight_decay,
        "max_steps": config.optim.max_steps,
        "batch_size": config.optim.batch,
        "gradient_accumulation_steps": config.optim.accumulation,
        "seq_length": config.data.context_tokens,
        "fim_rate": config.data.fim_rate,
        "fim_spm_rate": config.data.spm_rate,
    }
    assert ours == PUBLISHED
    assert config.data.loss == "all"


def test_a_flag_beats_a_preset() -> None:
    config = resolved("--preset", "p100", "--rank", "8")
    assert (config.lora.rank, config.lora.alpha) == (8, 8)
    assert resolved("--preset", "quick").optim.max_minutes == 4
    assert resolved("--preset", "a100-15b").optim.max_steps == 2000


def test_lora_means_16_bits() -> None:
    assert resolved("--method", "lora").model.quantize == "none"
    with pytest.raises(UsageError, match="--method qlora"):
        resolved("--method", "lora", "--quantize", "nf4")


def test_nothing_is_trained_over_8_bits() -> None:
    with pytest.raises(UsageError, match="--quantize int8 is for serving"):
        resolved("--quantize", "int8")


@pytest.mark.parametrize("targets", ["", "c_attn,,c_proj", "a b"])
def test_targets_are_names(targets: str) -> None:
    with pytest.raises(UsageError, match="--targets"):
        LoraConfig(targets=targets)
