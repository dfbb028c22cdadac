"""Which adapter a folder gets, and which one decides about the base."""

import json
from pathlib import Path

import pytest
from support import adapter

from starling_lsp.answering.adapter_choice import Choice, first_adapter
from starling_lsp.options import Options
from starling_server.models import bases


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two projects in it, each with an adapter; that of `two` is newer."""
    monkeypatch.setenv("STARLING_DATA_DIR", str(tmp_path / "data"))
    for number, name in enumerate(("two", "one")):
        (tmp_path / "all" / name / "src").mkdir(parents=True)
        written = adapter.write(tmp_path / "data" / "adapters" / name, bases.find("tiny"), number)
        manifest = json.loads((written / "manifest.json").read_text())
        own = {"workspace": str(tmp_path / "all" / name), "created": f"2026-0{3 - number}-01T00:00:00Z"}
        (written / "manifest.json").write_text(json.dumps({**manifest, **own}))
    return tmp_path / "all"


def test_the_adapter_of_the_folder_that_the_file_is_in(project: Path, tmp_path: Path) -> None:
    choice = Choice()
    choice.served = ["one", "two"]
    assert choice.of([project / "one" / "src", project]) == "one"
    assert choice.of([project / "two", project / "one"]) == "two", "innermost first"
    assert choice.of([tmp_path / "elsewhere", project / "one"]) == "one"
    assert choice.of([project]) is None
    assert choice.of([]) is None
    (project / "one" / "linked").symlink_to(tmp_path)
    assert choice.of([project / "one" / "linked", project / "one"]) == "one", "a link leads out, and the file is in it"


def test_the_parent_of_projects_has_the_base_of_the_newest(project: Path) -> None:
    tiny = bases.find("tiny").id

    def first(root: Path, base: str = "auto") -> str | None:
        found = first_adapter(Options(base=base), [root])
        return found.name if found else None

    assert first(project) == "two"
    assert first(project, tiny) == "two"
    assert first(project, "another") is None
    assert first(project / "one" / "src") == "one"
    assert first(project.parent / "elsewhere") is None
