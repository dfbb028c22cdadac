"""Tokens: read, compared, rotated, and never shown."""

import os
from pathlib import Path

import pytest

from starling_server import auth
from starling_server.auth import Client, TokenStore
from starling_server.errors import UsageError

LONG = "a-token-of-some-length-"


def write(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_names_and_scopes(tmp_path: Path) -> None:
    file = write(tmp_path / "tokens", "# comment", "", f"ada:{LONG}1", f"root:{LONG}2:admin")
    keys = TokenStore(LONG + "0", file)
    assert keys.who(LONG + "0") == Client("STARLING_TOKEN")
    assert keys.who(LONG + "1") == Client("ada")
    assert keys.who(LONG + "2") == Client("root", admin=True)
    assert keys.who(LONG + "3") is None
    assert keys.who("") is None
    assert keys.who("\ud800") is None
    assert not keys.empty
    assert TokenStore(None, None).empty


def test_every_token_is_compared_whichever_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared, compare = list[int](), auth.secrets.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append(len(a) + len(b))
        return compare(a, b)

    monkeypatch.setattr(auth.secrets, "compare_digest", counted)
    keys = TokenStore(None, write(tmp_path / "tokens", *(f"n{n}:{LONG}{n}" for n in range(5))))
    for token in (LONG + "0", LONG + "4", LONG + "9", "x", "x" * 10_000):
        compared.clear()
        keys.who(token)
        assert compared == [64] * 5


def test_a_changed_file_counts_at_once_and_a_damaged_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "tokens", f"ada:{LONG}old")
    keys = TokenStore(None, file)
    write(file, f"ada:{LONG}newer")
    assert keys.who(LONG + "old") is None
    assert keys.who(LONG + "newer") == Client("ada")
    write(file, "no token here")
    assert keys.who(LONG + "newer") == Client("ada")
    file.unlink()
    assert keys.who(LONG + "newer") == Client("ada")
    assert "the tokens were not reloaded" in caplog.text
    assert LONG not in caplog.text


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["# nothing"], "has no token"),
        (["ada:short"], "line 1: a token has at least 16"),
        (["", LONG], "line 2 is not a token: write name:token"),
        ([f"a b:{LONG}"], "line 1 is not a token: write name:token"),
        ([f"ada:{LONG}:root"], "line 1 is not a token: write name:token"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_line(tmp_path: Path, lines: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as raised:
        TokenStore(None, write(tmp_path / "tokens", *lines))
    assert LONG not in str(raised.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        TokenStore(None, tmp_path / "nowhere")


def test_a_clients_own_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(auth.TOKEN, raising=False)
    monkeypatch.delenv(auth.TOKEN_FILE, raising=False)
    assert auth.own_token() is None
    assert auth.own_token(write(tmp_path / "bare", LONG)) == LONG
    assert auth.own_token(write(tmp_path / "named", "# mine", f"ada:{LONG}")) == LONG
    monkeypatch.setenv(auth.TOKEN_FILE, os.fspath(tmp_path / "named"))
    assert auth.own_token() == LONG
    monkeypatch.setenv(auth.TOKEN, "from the environment")
    assert auth.own_token() == "from the environment"
