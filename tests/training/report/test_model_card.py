"""The model card: in the Hub's format, true, and without what is private."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from support import finished

from starling_server.models import bases
from starling_server.models.bases import TINY_DIR
from starling_server.models.manifest import BaseRecord
from starling_training.report import model_card
from starling_training.report.outputs import Found

HUB = BaseRecord(id="bigcode/starcoder2-3b", revision="abc", fingerprint="0", model_type="starcoder2")


def rendered(found: Found, base: BaseRecord | None = None) -> str:
    manifest = found.manifest.model_copy(update={"base": base}) if base else found.manifest
    return model_card.render(manifest, found.scores, model_card.licence(found.base))


@pytest.fixture(scope="module")
def made() -> ModelCard:
    return ModelCard(rendered(finished.found(), HUB))


def test_the_hub_reads_its_front_matter(made: ModelCard) -> None:
    data = made.data.to_dict()
    assert data["base_model"] == "bigcode/starcoder2-3b"
    assert data["library_name"] == "peft"
    assert data["license"] == "apache-2.0"
    assert data["language"] == "code"
    assert data["datasets"] == ["team/rows"]
    assert "fill-in-the-middle" in data["tags"]
    metrics = data["model-index"][0]["results"][0]["metrics"]
    assert {metric["type"]: metric["value"] for metric in metrics} == {
        "exact_match": 0.75, "edit_similarity": pytest.approx(0.75, abs=0.2), "loss": pytest.approx(2.1, abs=0.3),
    }  # fmt: skip


def test_its_text_says_how_to_use_it_and_how_good_it_is(made: ModelCard) -> None:
    for expected in (
        "serve-copilot --base bigcode/starcoder2-3b --adapter ./api", "api, rows", "middle loss", "95 % interval",
        "| rank | 16 |", "Python 40", "## Limits",
    ):  # fmt: skip
        assert expected in made.text, expected


@pytest.mark.parametrize("word", finished.PRIVATE)
def test_nothing_private_is_in_it(word: str) -> None:
    assert word not in rendered(finished.found())
    local = BaseRecord(id=f"{finished.PRIVATE[0]}/models/mine", fingerprint="0", model_type="gpt_bigcode")
    text = rendered(finished.found(), local)
    assert word not in text
    assert "--base mine" in text


def test_a_base_that_others_cannot_load_is_no_base_model() -> None:
    relative = BaseRecord(id="models/mine", fingerprint="0", model_type="gpt_bigcode")
    for base in (relative, None):
        assert "base_model" not in ModelCard(rendered(finished.found(), base)).data.to_dict()


def test_a_whole_model_is_served_as_a_base() -> None:
    found = finished.found()
    training = {**found.manifest.training, "method": "full"}
    made = ModelCard(rendered(replace(found, manifest=found.manifest.model_copy(update={"training": training}))))
    assert made.data.to_dict()["library_name"] == "transformers"
    assert "serve-copilot --base ./api" in made.text
    assert "adapter" not in made.text.partition("## Is it better")[0]


def test_a_run_that_was_not_judged_claims_nothing() -> None:
    made = ModelCard(rendered(finished.found([])))
    assert "model-index" not in made.data.to_dict()
    assert "It was not evaluated." in made.text


def test_a_base_s_licence_is_its_card_s(tmp_path: Path) -> None:
    tiny = bases.find("tiny")
    assert model_card.licence(tiny) == "apache-2.0"
    without = replace(tiny, path=tmp_path)
    assert model_card.licence(without) is None
    (tmp_path / "README.md").write_text((TINY_DIR / "README.md").read_text().partition("---\n\n")[2])
    assert model_card.licence(without) is None
    (tmp_path / "README.md").write_text("---\nlicense: [1\n---\n")
    assert model_card.licence(without) is None
