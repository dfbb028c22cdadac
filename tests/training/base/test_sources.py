"""Wheels to documents, and the two lists that must never meet."""

import hashlib
import re
import zipfile
from pathlib import Path

import pytest

from starling_server.errors import SourceError
from starling_training.base import collect, wheels
from starling_training.base.wheels import Source
from starling_training.sources.clean import Document, document

BODY = "\n".join(f"def function_{n}(value):\n    return value + {n}" for n in range(30)) + "\n"


def wheel(folder: Path, licence: str, **files: str) -> Path:
    """A wheel of the package `thing` with these modules."""
    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing-1.0.dist-info/METADATA", f"Name: thing\nVersion: 1.0\n{licence}\n\nAbout.\n")
        for name, text in files.items():
            archive.writestr(f"thing/{name}.py", text)
        archive.writestr("thing/_vendor/other.py", BODY)
        archive.writestr("thing/data.json", "{}")
    return path


def named(texts: dict[str, str]) -> tuple[Document, ...]:
    made = (document(path, text.encode()) for path, text in texts.items())
    return tuple(found for found in made if isinstance(found, Document))


def test_a_wheel_is_read_through_the_filters(tmp_path: Path) -> None:
    read = wheels.read_wheel(wheel(tmp_path, "License-Expression: MIT", one=BODY, empty=""))
    assert (read.name, read.version, read.licence) == ("thing", "1.0", "MIT")
    assert [found.path for found in read.documents] == ["thing/one.py"]


@pytest.mark.parametrize(
    "licence",
    [
        "License: GPLv3",
        "License-Expression: MPL-2.0",
        "",
        "Classifier: License :: OSI Approved :: GNU LGPL",
        "License: BSD or GPL",
    ],
)
def test_other_licences_are_not_learnt_from(tmp_path: Path, licence: str) -> None:
    made = wheel(tmp_path, licence, one=BODY)
    with pytest.raises(SourceError, match="remove it from the list"):
        wheels.read_wheel(made)
    assert wheels.read_wheel(made, must_be_permissive=False).documents


@pytest.mark.parametrize("licence", ["License: Apache 2.0", "Classifier: License :: OSI Approved :: BSD License"])
def test_permissive_licences_are_recognised(tmp_path: Path, licence: str) -> None:
    assert wheels.read_wheel(wheel(tmp_path, licence, one=BODY)).documents


def pins(requirements: Path) -> list[str]:
    return [line for line in requirements.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def test_every_package_is_pinned_by_hash_and_the_lists_never_meet() -> None:
    learnt, held_out = pins(wheels.LEARNT), pins(wheels.HELD_OUT)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}  # ?.*", pin) for pin in learnt + held_out)
    names = [{pin.partition("==")[0] for pin in side} for side in (learnt, held_out)]
    assert len(names[0]) == len(learnt) > 100
    assert not names[0] & names[1]


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not list nonsense"):
        wheels.download(wheels.LEARNT, tmp_path, ["nonsense"])


def test_only_wheels_that_are_pinned_are_read(tmp_path: Path) -> None:
    made = wheel(tmp_path, "License-Expression: MIT", one=BODY)
    pin = f"thing==1.0 --hash=sha256:{hashlib.sha256(made.read_bytes()).hexdigest()}  # MIT"
    older = tmp_path / "thing-0.9-py3-none-any.whl"
    older.write_bytes(b"what an earlier list named")
    assert wheels.pinned(tmp_path, ["other==1.0 --hash=sha256:00  # MIT", pin]) == [made]


def test_what_is_held_out_or_doubled_is_not_learnt() -> None:
    held = named({"held.py": BODY})
    ours = named({"a.py": BODY, "b.py": BODY.replace("function", "method").replace("value", "count")})
    theirs = named({"c.py": ours[1].text, "d.py": BODY + "print(1)\n", "e.py": BODY.replace("+", "* 3 -")})
    entries, chosen = collect.choose([Source("x", "1", "MIT", "", ours), Source("y", "1", "MIT", "", theirs)], held)
    assert [(name, found.path) for name, found in chosen] == [("x", "b.py"), ("y", "e.py")]
    assert [(entry.files, entry.duplicates) for entry in entries] == [(1, 1), (1, 2)]


def test_a_package_has_its_share_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MOST_CHARS", 5_000)
    texts = {f"{n}.py": "".join(f"{word}_{n} = {n * m}\n" for m, word in enumerate("abcdefgh" * 20)) for n in range(8)}
    entries, chosen = collect.choose([Source("x", "1", "MIT", "", named(texts))], [])
    assert 0 < sum(len(found.text) for _, found in chosen) <= 5_000
    assert entries[0].over_share == 8 - len(chosen)


def test_packing_loses_nothing(tmp_path: Path) -> None:
    documents = [("x", found) for found in named({"a.py": BODY, "b.py": 'x = "é\u2028"\n'})]
    collect.pack(tmp_path / "c.xz", documents)
    assert list(collect.unpack(tmp_path / "c.xz")) == documents
