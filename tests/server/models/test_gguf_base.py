"""GGUF files as bases: what is read from them, what is refused, and how adapters belong to them."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file, save_file
from support import random_bases
from support.real import real
from support.shards import in_two_shards

from starling_server.backends.llamacpp.gguf_export.write import write_base
from starling_server.backends.torch import gguf_weights, loading
from starling_server.config import ModelConfig
from starling_server.errors import AdapterError, BaseModelError, OutputError
from starling_server.models import bases, manifest
from starling_server.models.families import table as families
from starling_server.models.gguf_base import described, header
from starling_server.models.tokenizer import load_tokenizer

SPLITS = {"qwen2": families.QWEN2_SPLIT, "qwen3": families.QWEN2_SPLIT, "llama": families.LLAMA3_SPLIT}
Fields = Mapping[str, Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled base in 4 bits."""
    path = tmp_path_factory.mktemp("gguf") / "tiny-q4_0.gguf"
    write_base(bases.find("tiny"), path, "q4_0")
    return path


def made(path: Path, architecture: str, fields: Fields, tensor: bool = True) -> Path:
    """A GGUF file with a header of this kind and one small tensor."""
    writer = GGUFWriter(path, architecture)
    for key, value in fields.items():
        add = {str: writer.add_string, int: writer.add_uint32, list: writer.add_array}[type(value)]
        add(key, value)
    if tensor:
        writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


WORDS = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": list("abcdefgh"), "tokenizer.ggml.merges": ["a b"]}


@pytest.mark.parametrize(
    ("architecture", "fields", "says"),
    [
        ("bloom", {}, "is a 'bloom' model, and supported are llama, qwen2, qwen3, starcoder, starcoder2"),
        ("nomic-bert", {}, "is an embedding model"),
        ("qwen3", {"qwen3.pooling_type": 3}, "is an embedding model"),
        ("clip", {}, "is an image model"),
        ("qwen2vl", {}, "is an image model"),
        ("qwen2", {"general.type": "mmproj"}, "the image part of one"),
        ("llama", {"general.type": "adapter"}, "is a LoRA adapter and no base"),
        ("llama", {"tokenizer.ggml.model": "llama"}, "has a SentencePiece tokenizer, and only byte-level BPE"),
        ("llama", {}, "has no tokenizer, and only byte-level BPE"),
        ("llama", WORDS, "has no fill-in-the-middle tokens.*Qwen2.5-Coder, StarCoder2 or Seed-Coder"),
        ("llama", {**WORDS, "tokenizer.ggml.tokens": ["a"], "tokenizer.ggml.token_type": [1, 1]}, "damaged vocabulary"),
    ],
)
def test_files_that_are_no_base(architecture: str, fields: Fields, says: str, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=says):
        bases.find(str(made(tmp_path / "model.gguf", architecture, fields)))


def test_a_vocabulary_without_weights(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="holds a vocabulary and no weights"):
        bases.find(str(made(tmp_path / "words.gguf", "llama", WORDS, tensor=False)))


def test_a_header_without_a_size(tmp_path: Path) -> None:
    words = [*families.STARCODER.sentinels, *"abc"]
    fields = {
        **WORDS, "tokenizer.ggml.tokens": words, "tokenizer.ggml.pre": "starcoder",
        "llama.embedding_length": 32, "llama.context_length": 64, "llama.block_count": 1,
    }  # fmt: skip
    with pytest.raises(BaseModelError, match=r"damaged header \(num_attention_heads is missing\)"):
        bases.find(str(made(tmp_path / "model.gguf", "llama", fields)))


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.0001])
def test_a_file_that_is_cut_off(kept: float, file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(BaseModelError, match=r"cut\.gguf is cut off.*download it again"):
        bases.find(str(tmp_path / "cut.gguf"))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "page.gguf").write_bytes(b"<html>not found</html>")
    with pytest.raises(BaseModelError, match="is no GGUF file"):
        bases.find(str(tmp_path / "page.gguf"))
    (tmp_path / "huge.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 16)
    with pytest.raises(BaseModelError, match="damaged header"):
        bases.find(str(tmp_path / "huge.gguf"))


def test_a_header_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "long.gguf", "llama", {**WORDS, "general.description": "a" * 2000})
    monkeypatch.setattr(header, "MOST_BYTES", 1000)
    with pytest.raises(BaseModelError, match="damaged header"):
        bases.find(str(path))


def test_a_split_file_is_whole_or_refused(file: Path, tmp_path: Path) -> None:
    first = tmp_path / "model-00001-of-00002.gguf"
    shutil.copyfile(file, first)
    with pytest.raises(BaseModelError, match=r"one of 2 parts, and model-00002-of-00002\.gguf is not beside it"):
        bases.find(str(first))
    made(tmp_path / "model-00002-of-00002.gguf", "starcoder", {})
    assert len(header.read(first).files) == 2
    assert bases.is_gguf(str(tmp_path)), "the folder stands for its first part"
    made(tmp_path / "lone.gguf", "starcoder", {"split.count": 3})
    with pytest.raises(BaseModelError, match="is one of 3 parts"):
        header.read(tmp_path / "lone.gguf")
    with pytest.raises(BaseModelError, match="holds several GGUF files"):
        bases.find(str(tmp_path))


def test_the_bundled_base_from_its_file(file: Path, source: str) -> None:
    found, original = bases.find(str(file)), bases.find("tiny")
    assert found.family.shape(found.config) == original.family.shape(original.config)
    assert found.context == original.context
    ours, theirs = load_tokenizer(found), load_tokenizer(original)
    for text in (source, "<fim_prefix>x<fim_middle> é\U0001f600\r\n\n\tif x:\n  10_000"):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.encode_marked(text) == theirs.encode_marked(text)
    assert found.fim(ours) == original.fim(theirs)


def test_the_order_that_an_adapter_taught_stays(tmp_path: Path) -> None:
    shutil.copytree(bases.TINY_DIR, tmp_path / "merged")
    config = tmp_path / "merged" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {bases.ORDER: "psm"}))
    write_base(bases.find(str(tmp_path / "merged")), tmp_path / "merged.gguf", "q8_0")
    tiny, merged = bases.find("tiny"), bases.find(str(tmp_path / "merged.gguf"))
    assert [base.fim(load_tokenizer(base)).order for base in (tiny, merged)] == ["spm", "psm"]


@pytest.mark.parametrize("model_type", ["starcoder2", "qwen2", "qwen3", "llama"])
def test_torch_gets_the_weights_back(model_type: str, tmp_path: Path) -> None:
    folder = random_bases.write(tmp_path / "base", model_type, split=SPLITS.get(model_type))
    wanted = {name: sixteen_bits(tensor) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(wanted, folder / "model.safetensors", metadata={"format": "pt"})
    original = bases.find(str(folder))
    write_base(original, tmp_path / "base.gguf", "f32")
    back = gguf_weights.as_folder(bases.find(str(tmp_path / "base.gguf")))
    got = {name: tensor for file in back.path.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(got[name].float(), tensor), name
    assert gguf_weights.as_folder(bases.find(str(tmp_path / "base.gguf"))).path == back.path
    logits = [
        loading.load(ModelConfig(str(path), "none", dtype="float32")).model(torch.tensor([[300, 400, 500]])).logits
        for path in (folder, tmp_path / "base.gguf")
    ]
    assert torch.equal(*logits)


def test_nothing_is_left_where_dequantising_ends_early(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    base = bases.find(str(file))
    home = described.home() / "dequantised"
    with monkeypatch.context() as patched:
        patched.setattr(gguf_weights, "save_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gguf_weights.as_folder(base)
    assert list(home.iterdir()) == []
    monkeypatch.setattr(gguf_weights.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=1000))  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(OutputError, match=r"cannot be written to .*free some space.*STARLING_CACHE_DIR"):
        gguf_weights.as_folder(base)
    assert list(home.iterdir()) == []


def sixteen_bits(tensor: torch.Tensor) -> torch.Tensor:
    """A matrix with numbers that bfloat16 holds; norms and biases as they are."""
    return tensor.float() if tensor.dim() == 1 else tensor.bfloat16().float()


def record(base: bases.Base) -> manifest.Manifest:
    """Of an adapter over `base`."""
    own = manifest.BaseRecord(
        id=base.id, fingerprint=bases.fingerprint(base), model_type=base.model_type, kin=bases.kin(base),
        from_gguf=base.gguf is not None,
    )  # fmt: skip
    fim = manifest.FimRecord(family=base.model_type, order="spm", context_tokens=512, max_tokens=64)
    return manifest.Manifest(name="mine", created="2026-01-01T00:00:00Z", base=own, fim=fim)  # pyright: ignore[reportArgumentType]


def test_an_adapter_fits_every_form_of_its_base_and_no_other_base(file: Path, tmp_path: Path) -> None:
    def check(trained: bases.Base, served: bases.Base) -> None:
        form = (bases.fingerprint(served), served.model_type, bases.kin(served), served.gguf is not None)
        manifest.check(record(trained), served.id, *form)

    write_base(bases.find("tiny"), tmp_path / "tiny.gguf", "q8_0")
    hf, four, eight = bases.find("tiny"), bases.find(str(file)), bases.find(str(tmp_path / "tiny.gguf"))
    for trained, served in ((hf, four), (four, hf), (four, eight), (gguf_weights.as_folder(four), eight)):
        check(trained, served)
    other = tmp_path / "other"
    shutil.copytree(hf.path, other)
    tuned = {name: tensor + 0.01 for name, tensor in load_file(other / "model.safetensors").items()}
    save_file(tuned, other / "model.safetensors", metadata={"format": "pt"})
    for trained, served in ((bases.find(str(other)), four), (hf, bases.find(str(other)))):
        with pytest.raises(AdapterError, match="does not fit"):
            check(trained, served)
    old = record(hf).model_copy(update={"base": record(hf).base.model_copy(update={"kin": None})})
    with pytest.raises(AdapterError, match="does not fit"):
        manifest.check(old, four.id, bases.fingerprint(four), four.model_type, bases.kin(four), True)


def without_index(folder: Path) -> None:
    in_two_shards(folder)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")


def out_of_date(folder: Path) -> None:
    in_two_shards(folder)
    weights = load_file(folder / "model.safetensors")
    weights.pop("transformer.ln_f.bias")
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_index, r"there are shards \(and consolidated\.safetensors beside them\), and no model\.safe.*index"),
        (out_of_date, r"model\.safetensors and the shards beside it hold different tensors"),
    ],
)
def test_folders_that_hold_weights_twice(damage: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    shutil.copytree(bases.TINY_DIR, tmp_path / "base")
    damage(tmp_path / "base")
    with pytest.raises(BaseModelError, match=says):
        bases.find(str(tmp_path / "base"))


@pytest.mark.real
def test_a_real_base_without_fim_tokens() -> None:
    with pytest.raises(BaseModelError, match=r"no fill-in-the-middle tokens.*Qwen2\.5-Coder, StarCoder2 or Seed-Coder"):
        bases.find(str(real("smollm2-135m-instruct-q4_1.gguf")))


@pytest.mark.real
def test_ids_of_a_real_vocabulary_are_llama_cpp_s(source: str) -> None:
    llama_cpp: Any = pytest.importorskip("llama_cpp")
    path = real()
    found = bases.find(str(path))
    ours, read = load_tokenizer(found), header.read(path).fields
    words = {word: number for number, word in enumerate(read["tokenizer.ggml.tokens"])}
    for name in families.QWEN.sentinels:
        assert ours.special_id(name) == words[name], "entries of other kinds must not move the ids"
    settings = llama_cpp.llama_model_default_params()
    settings.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    texts = real("vocabularies/ggml-vocab-qwen2.gguf.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    for text in (*texts, source, "ſ漢\u0301\u2028 <|fim_prefix|>\r\n\t\n 1234 it's"):
        data = text.encode()
        room = (llama_cpp.llama_token * (len(data) + 1))()
        count = llama_cpp.llama_tokenize(vocabulary, data, len(data), room, len(room), False, False)
        assert ours.encode(text) == list(room[:count])
    llama_cpp.llama_model_free(model)


def test_the_header_is_the_one_that_gguf_reads(file: Path) -> None:
    ours, theirs = header.read(file), gguf.GGUFReader(file)
    for field in theirs.fields.values():
        if not field.name.startswith(("GGUF.", "tokenizer.ggml.tokens", "tokenizer.ggml.merges")):
            assert ours.fields[field.name] == field.contents()
    table = {tensor.name: (tensor.data_offset, tensor.n_bytes) for tensor in theirs.tensors}
    assert {name: (found.start, header.nbytes(found)) for name, found in ours.tensors.items()} == table
