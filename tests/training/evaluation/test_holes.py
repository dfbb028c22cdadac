"""Holes that are the same for the same seed, kept as places, refused where the code has changed."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from support import finished

from starling_server.errors import SourceError, UsageError
from starling_server.models.manifest import Manifest
from starling_training.evaluation import holes
from starling_training.sources import corpus
from starling_training.sources.clean import Document, digest
from starling_training.sources.corpus import Corpus

SOURCE = Path(__file__).parents[3] / "server" / "starling_server" / "backends" / "llamacpp" / "gguf_export"


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARLING_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return corpus.read([SOURCE])


def test_a_seed_draws_the_same_places_and_they_come_back_from_disk(read: Corpus, tmp_path: Path) -> None:
    drawn = holes.places(read.documents, 30, 64, 1)
    assert drawn == holes.places(tuple(reversed(read.documents)), 30, 64, 1)
    assert drawn != holes.places(read.documents, 30, 64, 2)
    assert all(place.end - place.start <= 160 for place in drawn)
    assert len({place.kind for place in drawn}) >= 4
    holes.write(drawn, tmp_path / "holes.jsonl")
    assert holes.read(tmp_path / "holes.jsonl") == drawn
    texts = {document.path: document.text for document in read.documents}
    for path, hole in holes.cut_out(drawn, read.documents):
        assert hole.prefix + hole.middle + hole.suffix == texts[path]


def test_a_file_that_has_changed_is_refused(read: Corpus, tmp_path: Path) -> None:
    drawn = holes.places(read.documents, 5, 64, 1)
    with pytest.raises(SourceError, match="have changed or are gone"):
        holes.cut_out(drawn, read.documents[:0])
    (tmp_path / "odd").write_text('{"path": 1}\n')
    with pytest.raises(UsageError, match="has no positions"):
        holes.read(tmp_path / "odd")
    with pytest.raises(UsageError, match="cannot be read"):
        holes.read(tmp_path / "missing")


def test_of_its_own_source_only_what_was_held_out_is_asked_about(read: Corpus) -> None:
    held_out = read.documents[0].path
    mine = {"sources": [{"named": str(SOURCE)}], "held_out": [held_out]}
    manifest = _manifest(mine)
    parts = holes.parts(read, manifest)
    assert [document.path for document in parts.judged] == [held_out]
    assert len(parts.learnt) == len(read.documents) - 1
    others = holes.parts(read, _manifest({**mine, "sources": [{"named": "/elsewhere"}]}))
    assert others.judged == holes.parts(read, None).judged == read.documents
    assert (others.elsewhere, parts.elsewhere) == (True, False)
    with pytest.raises(SourceError, match="None of the 1 files"):
        holes.parts(read, _manifest({**mine, "held_out": ["gone.py"]}))


def test_the_same_path_in_another_repository_was_not_held_out(tmp_path: Path) -> None:
    for name in ("api", "web"):
        shutil.copytree(SOURCE, tmp_path / name)
        for path in (tmp_path / name).glob("*.py"):
            path.write_text(path.read_text().replace("tensor", f"{name}_tensor") + f"{name} = 1\n")
    both = corpus.read([tmp_path / "api", tmp_path / "web"])
    held_out = both.documents[0].path
    data = {"sources": [{"named": "web", "place": str(tmp_path / "web")}], "held_out": [held_out]}
    web = corpus.read([tmp_path / "web"])
    with pytest.raises(SourceError, match="None of the 1 files"):
        holes.parts(web, _manifest({**data, "held_out_of": ["api"]}))
    assert [document.path for document in holes.parts(web, _manifest({**data, "held_out_of": ["web"]})).judged] == [
        held_out
    ]


def test_a_source_is_known_however_it_was_named(read: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"held_out": [read.documents[0].path]}
    here = _manifest({**data, "sources": [{"named": ".", "place": str(SOURCE)}]})
    other = _manifest({**data, "sources": [{"named": ".", "place": "/elsewhere"}]})
    monkeypatch.chdir(tmp_path)
    assert not holes.parts(read, here).elsewhere
    monkeypatch.chdir(SOURCE)
    by_dot = corpus.read(["."])
    assert not holes.parts(by_dot, here).elsewhere
    assert holes.parts(by_dot, other).elsewhere, "what lay under the same name then"


def _manifest(data: Mapping[str, object]) -> Manifest:
    return finished.found([]).manifest.model_copy(update={"data": data})


def test_closeness_is_to_the_closest_learnt_file(read: Corpus) -> None:
    document = read.documents[0]
    other = Document("new.py", "a = 1\n" * 3 + "one two three four five six seven", digest("x"))
    assert holes.likeness_label(document, read.signatures) == holes.LIKENESS[2]
    assert holes.likeness_label(other, read.signatures) == holes.LIKENESS[0]
    assert holes.likeness_label(replace(document, path="other"), read.signatures[:0]) == ""
