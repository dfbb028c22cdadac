"""Bases and adapters: what is accepted, and the sentence for what is not."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from support.shards import in_two_shards
from support.starcoder2 import write as write_starcoder2

from starling_server.backends.torch import device, loading
from starling_server.backends.torch.loading import Loaded
from starling_server.backends.torch.runner import TorchRunner
from starling_server.config import ModelConfig
from starling_server.engine.engine import Engine, Job
from starling_server.engine.protocols import GREEDY
from starling_server.errors import AdapterError, BaseModelError
from starling_server.models import adapters, bases, manifest
from starling_server.models.manifest import BaseRecord, FimRecord, Manifest, prompt_format
from starling_server.models.safetensors_numpy import weights_of


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The bundled base without its weights' bytes, to be damaged."""
    folder = tmp_path / "copied"
    shutil.copytree(bases.TINY_DIR, folder)
    return folder


@pytest.fixture(scope="module")
def starcoder2(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A small random Starcoder2 in float32."""
    folder = write_starcoder2(tmp_path_factory.mktemp("starcoder2"))
    return loading.load(ModelConfig(base=str(folder), quantize="none", dtype="float32"))


def test_starcoder2_equals_transformers(starcoder2: Loaded, source: str) -> None:
    """Grouped-query attention and rotary positions through the same engine; its window is never exceeded."""
    assert starcoder2.base.context == 256
    assert starcoder2.tokenizer.special_id("<file_sep>") in starcoder2.fim.stops
    engine = Engine(TorchRunner(starcoder2), 1 << 26)
    for at in range(0, 2000, 100):
        ids = starcoder2.tokenizer.encode(source[at : at + 400])[:200]
        prompt = starcoder2.fim.prompt(ids, ids[:20])
        out = list(engine.generate(Job(prompt, 8, starcoder2.fim.stops, GREEDY)))
        tokens = torch.tensor([prompt])
        expected = starcoder2.model.generate(  # pyright: ignore[reportCallIssue]
            tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=8, do_sample=False,
            eos_token_id=sorted(starcoder2.fim.stops), pad_token_id=starcoder2.fim.pad,
        )[0, len(prompt) :].tolist()  # fmt: skip
        assert out == [token for token in expected if token not in starcoder2.fim.stops]


def test_the_bundled_base_is_four_bits(tiny: Loaded) -> None:
    kinds = {type(module).__name__ for name, module in tiny.model.named_modules() if "c_fc" in name}
    assert kinds == ({"Linear4bit"} if device.in_four_bits(ModelConfig()) else {"Linear"})


def test_the_fingerprint_is_of_the_content(copied: Path) -> None:
    original = bases.fingerprint(bases.find("tiny"))
    assert bases.fingerprint(bases.find(str(copied))) == original
    weights = copied / "model.safetensors"
    data = weights.read_bytes()
    for start in (100_000, len(data) * 3 // 4):  # as a fine-tuned first layer, or only a late one
        weights.write_bytes(
            data[:start] + bytes(byte ^ 1 for byte in data[start : start + 200_000]) + data[start + 200_000 :]
        )
        assert bases.fingerprint(bases.find(str(copied))) != original


def test_the_fingerprint_of_the_bundled_base_is_the_one_that_adapters_name() -> None:
    assert bases.fingerprint(bases.find("tiny")) == "d64debeba25feaf83213c6bd2fe830637cfb773a7ab9bc95dee84f70c8061de0"


def test_a_whole_file_is_loaded_and_shards_beside_it_are_not(copied: Path) -> None:
    found = bases.find("tiny")
    in_two_shards(copied)
    both = bases.find(str(copied))
    assert weights_of(copied) == [copied / "model.safetensors"]
    assert (bases.fingerprint(both), bases.weights(both)) == (bases.fingerprint(found), bases.weights(found))


def test_an_index_names_the_shards_and_a_stray_file_beside_it_is_not_loaded(copied: Path) -> None:
    names = in_two_shards(copied)
    (copied / "model.safetensors").unlink()
    shards = bases.find(str(copied))
    before = bases.fingerprint(shards), bases.weights(shards)
    (copied / "adapter_model.safetensors").write_bytes(b"an adapter of something else")
    assert weights_of(copied) == [copied / name for name in names]
    assert (bases.fingerprint(shards), bases.weights(shards)) == before
    bases.find(str(copied))
    (copied / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(BaseModelError, match="has no weight_map"):
        bases.has_weights(shards)


def test_bases_that_cannot_be_used(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "model_type": "bloom"}))
    with pytest.raises(BaseModelError, match="'bloom' model; supported are gemma, gpt_bigcode, llama"):
        bases.find(str(copied))
    (copied / "config.json").write_text("{")
    with pytest.raises(BaseModelError, match=r"damaged config\.json"):
        bases.find(str(copied))
    (copied / "config.json").unlink()
    with pytest.raises(BaseModelError, match=r"has no config\.json"):
        bases.find(str(copied))


def test_a_base_without_weights_or_with_damaged_ones(copied: Path) -> None:
    (copied / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(BaseModelError, match="weights of base"):
        loading.load(ModelConfig(base=str(copied)))
    (copied / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"no \.safetensors weights"):
        bases.find(str(copied))


def test_a_base_without_fim_tokens(copied: Path) -> None:
    words = (copied / "tokenizer.json").read_text(encoding="utf-8").replace("<fim_", "<mid_")
    (copied / "tokenizer.json").write_text(words, encoding="utf-8")
    config = (copied / "tokenizer_config.json").read_text(encoding="utf-8").replace("<fim_", "<mid_")
    (copied / "tokenizer_config.json").write_text(config, encoding="utf-8")
    with pytest.raises(BaseModelError, match="no fill-in-the-middle tokens"):
        loading.load(ModelConfig(base=str(copied)))


@pytest.mark.parametrize("name", ["/nowhere", "./nowhere", "nowhere", "a/b/c"])
def test_a_base_that_is_nowhere(name: str) -> None:
    with pytest.raises(BaseModelError, match="There is no base"):
        bases.find(name)


def test_a_hub_base_without_network_is_one_sentence() -> None:
    with pytest.raises(BaseModelError, match="could not be downloaded"):
        bases.find("starling-tests/not-there")


def record(fingerprint: str = "f", family: str = "gpt_bigcode", workspace: str | None = None) -> Manifest:
    return Manifest(
        name="mine",
        created=datetime.now(UTC),
        base=BaseRecord(id="tiny", fingerprint=fingerprint, model_type="gpt_bigcode"),
        fim=FimRecord(family=family, order="spm", context_tokens=512, max_tokens=64),
        workspace=workspace,
    )


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / manifest.MANIFEST).write_text(text)
    (folder / adapters.WEIGHTS).write_bytes(b"")
    return folder


def test_an_adapter_of_another_base_or_format() -> None:
    manifest.check(record(), "tiny", "f", "gpt_bigcode")
    with pytest.raises(AdapterError, match="does not fit 'big': start with --base tiny"):
        manifest.check(record(), "big", "other", "gpt_bigcode")
    with pytest.raises(AdapterError, match="FIM format"):
        manifest.check(record(family="old"), "tiny", "f", "gpt_bigcode")


def test_damaged_manifests(tmp_path: Path) -> None:
    good = record().model_dump_json()
    with pytest.raises(AdapterError, match="damaged at base"):
        manifest.read(write(tmp_path / "a", good.replace('"base"', '"basis"')))
    with pytest.raises(AdapterError, match="damaged at the file"):
        manifest.read(write(tmp_path / "b", good[:-5]))
    with pytest.raises(AdapterError, match="newer Starling"):
        manifest.read(write(tmp_path / "c", good.replace('"format":1', '"format":9')))
    with pytest.raises(AdapterError, match=r"no readable manifest\.json"):
        manifest.read(tmp_path)


def test_adapters_by_name_folder_and_workspace(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "pkg").mkdir(parents=True)
    write(adapters.home() / "outer", record(workspace=str(tmp_path)).model_dump_json())
    write(adapters.home() / "inner", record(workspace=str(project)).model_dump_json())
    write(adapters.home() / "damaged", "{")
    assert adapters.find("inner").path == adapters.find(str(adapters.home() / "inner")).path
    assert [adapter.name for adapter in adapters.every()] == ["inner", "outer"]
    found = adapters.for_workspace(project / "pkg")
    assert found is not None
    assert found.name == "inner"
    assert adapters.for_workspace(Path("/")) is None
    with pytest.raises(AdapterError, match=r"\(inner, outer\)"):
        adapters.find("nobody")
    with pytest.raises(AdapterError, match="cannot name an adapter"):
        adapters.check_name("base")


def test_prompts_are_written_in_the_order_that_the_manifest_records(tiny: Loaded) -> None:
    recorded = FimRecord.of(tiny.fim, 512, 64)
    assert (recorded.family, recorded.order) == ("gpt_bigcode", "spm")
    prefix_first = prompt_format(tiny.fim, recorded.model_copy(update={"order": "psm"}))
    assert prefix_first.prompt([10], [20]) == tiny.fim.prompt([10], [20], "psm") != tiny.fim.prompt([10], [20])
    assert prefix_first.example([10], [30], [20]).ids[:3] == [tiny.fim.prefix, 10, tiny.fim.suffix]
    assert prompt_format(tiny.fim, recorded) == prompt_format(tiny.fim, None) == tiny.fim
