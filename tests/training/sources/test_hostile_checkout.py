"""A checkout of unknown origin is read: no program that its configuration names runs, and no file outside is read."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from support import hostile_checkout

from starling_server.errors import SourceError
from starling_server.files import filters, inside, listing
from starling_server.files import git as git_process
from starling_training.console import plain
from starling_training.evaluation import history, own_tests
from starling_training.report import markdown
from starling_training.sources import clean, corpus, origins

SECRET = "what_only_the_owner_may_read"


def text(number: int) -> str:
    """A file unlike the others."""
    return "".join(f"def word_{number}_{n}(value):\n    return value + {number * 31 + n}\n" for n in range(20))


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-qm", message)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with six files and three commits, the last of which is signed."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / ".gitattributes").write_text("*.py diff=evil filter=evil merge=evil\n")
    for number in range(6):
        (folder / f"file_{number}.py").write_text(text(number))
    commit(folder, "first")
    for number in range(2):
        (folder / f"file_{number}.py").write_text(text(number) + f"\n\ndef more_{number}(value):\n    return value\n")
        commit(folder, f"more {number}")
    hostile_checkout.sign(folder)
    return folder


@pytest.fixture
def witnesses(tmp_path: Path) -> Path:
    return tmp_path / "witnesses"


def seen(witnesses: Path) -> list[str]:
    return sorted(path.name for path in witnesses.iterdir())


def call(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )


def test_no_program_of_the_repository_s_configuration_runs(checkout: Path, witnesses: Path) -> None:
    hostile_checkout.plant(checkout, witnesses)
    assert len(corpus.read([checkout]).documents) == 6
    assert {change.path for change in history.changes(checkout, 5)} == {"file_0.py", "file_1.py"}
    assert seen(witnesses) == []


@pytest.mark.parametrize("remote", hostile_checkout.REMOTES)
def test_nothing_is_fetched_for_a_partial_clone(checkout: Path, witnesses: Path, remote: str) -> None:
    hostile_checkout.forget(checkout, "HEAD~1:file_1.py", "HEAD~1^{tree}", "HEAD:file_0.py")
    hostile_checkout.plant(checkout, witnesses, remote)
    assert len(corpus.read([checkout]).documents) == 6, "the work tree has them all"
    with pytest.raises(SourceError, match="partial"):
        history.changes(checkout, 5)
    assert seen(witnesses) == []


@pytest.mark.slow
def test_no_command_runs_a_program_of_the_repository(checkout: Path, witnesses: Path, tmp_path: Path) -> None:
    hostile_checkout.plant(checkout, witnesses)
    evaluation = "starling_training.evaluation"
    runs = (
        ("starling_training", checkout, "--base", "tiny", "--dry-run"),
        ("starling_training", checkout.as_uri(), "--base", "tiny", "--dry-run"),
        (evaluation, checkout, "--base", "tiny", "--holes", "1"),
        (evaluation, "history", checkout, "--base", "tiny", "--hunks", "1"),
        (evaluation, "tests", checkout, "--command", f"{sys.executable} file_0.py", "--base", "tiny", "--holes", "1"),
    )
    for arguments in runs:
        found = call(*arguments)
        assert found.returncode == 0 or "passes even with code removed" in found.stderr, found.stderr
        assert seen(witnesses) == [], arguments


def test_a_bare_repository_inside_of_a_source_is_none_of_its_own(checkout: Path) -> None:
    inner = checkout / "inner"
    git(checkout, "clone", "-q", "--bare", str(checkout), str(inner))
    (inner / "work.py").write_text(text(9))
    commit(checkout, "a repository as files")
    assert listing.commit(inner) is None
    assert history.changes(inner, 5), "named as one it is read"


def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "x1.py").write_text(f"{SECRET} = 1\n" + text(77))
    return folder


def test_a_link_in_place_of_a_tracked_folder_is_not_followed(checkout: Path, tmp_path: Path) -> None:
    outside = elsewhere(tmp_path)
    (checkout / "conf").mkdir()
    (checkout / "conf" / "x1.py").write_text(text(50))
    commit(checkout, "a folder")
    (checkout / "conf" / "x1.py").unlink()
    (checkout / "conf").rmdir()
    (checkout / "conf").symlink_to(outside)
    assert "conf/x1.py" not in listing.files(checkout).paths
    read = corpus.read([checkout])
    assert not any(SECRET in document.text for document in read.documents)


def test_an_index_of_others_making_names_nothing_outside(checkout: Path, tmp_path: Path) -> None:
    outside = elsewhere(tmp_path)
    names = [f"file_{number}.py" for number in range(6)]
    hostile_checkout.index(checkout, [f"../{outside.name}/x1.py", str(outside / "x1.py"), "./file_0.py", *names])
    assert listing.files(checkout).paths == names


def test_a_link_that_comes_after_the_listing_is_not_followed(checkout: Path, tmp_path: Path) -> None:
    outside = elsewhere(tmp_path)
    (checkout / "conf").mkdir()
    (checkout / "conf" / "x1.py").write_text(text(50))
    assert inside.checker(checkout)("conf/x1.py")
    (checkout / "conf").rename(checkout / "was")
    (checkout / "conf").symlink_to(outside)
    for name in ("conf/x1.py", "../elsewhere/x1.py", str(outside / "x1.py"), "was/../file_0.py", "was"):
        with pytest.raises(OSError):  # noqa: PT011, each system has a number of its own for it
            inside.read(checkout, name, 100)
        left_out = clean.clean(clean.Raw(name, "", root=checkout))
        assert isinstance(left_out, str)
        assert left_out.partition("\n")[0] in {"unreadable", "not source code"}
    with pytest.raises(OSError):  # noqa: PT011
        inside.write(checkout, "conf/x1.py", b"overwritten")
    assert SECRET in (outside / "x1.py").read_text()
    assert inside.read(checkout, "was/x1.py", 4) == b"def "


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"file_{number}.py").write_text(text(number))
    os.mkfifo(tmp_path / "pipe.py")
    os.mkfifo(tmp_path / ".gitignore")
    (tmp_path / ".starlingignore").symlink_to("/dev/zero")
    assert len(corpus.read([tmp_path]).documents) == 6


def test_the_copy_in_which_tests_run_has_no_way_out(checkout: Path, tmp_path: Path) -> None:
    outside = elsewhere(tmp_path)
    (checkout / "conf").symlink_to(outside)
    (checkout / "inner.py").symlink_to(checkout / "file_0.py")
    (checkout / "near.py").symlink_to("file_1.py")
    (checkout / "broken.py").symlink_to("nothing.py")
    said = io.StringIO()
    wanted = own_tests.Wanted("sh -c 'echo changed > conf/x1.py; echo changed > inner.py'", 1, "*.py", 0, 10)
    root = own_tests.copied(checkout, tmp_path / "copy", Console(file=said))
    copy = own_tests.Copy(root, checkout, wanted)
    copy.outcome()
    assert SECRET in (outside / "x1.py").read_text()
    assert (checkout / "file_0.py").read_text() != "changed\n"
    assert (root / "file_0.py").read_text() == "changed\n", "a link within leads to the copy"
    assert (root / "near.py").read_text() == text(1) + "\n\ndef more_1(value):\n    return value\n"
    assert "1 links that lead out" in said.getvalue()
    (root / "deep").symlink_to(outside)
    assert not copy.passes("deep/x1.py", "overwritten")
    assert SECRET in (outside / "x1.py").read_text()


def test_submodules_are_counted(checkout: Path) -> None:
    git(checkout, "update-index", "--add", "--cacheinfo", "160000," + "1" * 40 + ",inner")
    assert corpus.read([checkout]).dropped[listing.SUBMODULE] == 1


def test_a_file_with_an_unfinished_merge_is_left_out_and_named(checkout: Path) -> None:
    markers = "<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> other\n"
    (checkout / "merged.py").write_text(text(50) + markers)
    (checkout / "heading.py").write_text(text(51) + '"""\nHeading\n=======\n"""\n')
    commit(checkout, "merged")
    for _ in range(2):  # read, and taken from the cache
        read = corpus.read([checkout])
        assert read.dropped["merge conflict"] == 1
        assert read.left_out[filters.CONFLICT] == ("merged.py",)
        assert "heading.py" in {document.path for document in read.documents}


def test_a_folder_that_cannot_be_read_is_counted(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"file_{number}.py").write_text(text(number))
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):  # a path that is too long for the system: root may read everything else
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert corpus.read([tmp_path]).dropped == {listing.UNREADABLE: 1}


def test_a_shallow_clone_says_so(checkout: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth", "1", checkout.as_uri(), "shallow")
    with pytest.raises(SourceError, match=r"shallow clone.*fetch --unshallow"):
        history.changes(tmp_path / "shallow", 50)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root gives a folder away")
def test_a_checkout_of_another_user_s_is_named_with_git_s_own_remedy(checkout: Path) -> None:
    for path in (checkout, checkout / ".git"):
        os.chown(path, 12345, 12345)
    remedy = r"another user: run `git config --global --add safe\.directory"
    with pytest.raises(SourceError, match=remedy):
        listing.files(checkout)
    with pytest.raises(SourceError, match=remedy):
        history.changes(checkout, 5)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Warning: Permanently added 'h'.\ngit@h: Permission denied (publickey).\nfatal: Could not read from remote "
            "repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n",
            "git@h: Permission denied (publickey)",
        ),
        (
            "Cloning into 'x'...\nfatal: repository 'https://h/x' not found\n",
            "fatal: repository 'https://h/x' not found",
        ),
        ("ssh: could not resolve\nfatal: Could not read from remote repository.\n", "ssh: could not resolve"),
        ("", "no reason given"),
    ],
)
def test_git_s_own_first_line_is_given(said: str, reason: str) -> None:
    assert git_process.complaint(said.encode()) == reason


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:p@ss@host/team/x.git", "https://host/team/x.git"),
        ("https://user:p@ss@host", "https://host"),
        ("https://user:p/a@ss@host/x", "https://host/x"),
        ("https://user:p#a@host/x", "https://host/x"),
        ("HTTPS://user:p?a@host:8080/x", "HTTPS://host:8080/x"),
        ("openai:http://u:p@ss@host:1/v1", "openai:http://host:1/v1"),
        ("https://host/x.git?private_token=abc", "https://host/x.git"),
        ("user:p@ss@host:team/x", "host:team/x"),
        ("https://host:8443/@scope/x@y", "https://host:8443/@scope/x@y"),
        ("https://[::1]:80/x@y", "https://[::1]:80/x@y"),
        ("git@host:team/x.git", "git@host:team/x.git"),
        ("/home/a@b/c:d@e", "/home/a@b/c:d@e"),
    ],
)
def test_a_login_is_never_shown(url: str, shown: str) -> None:
    assert origins.shown(url) == shown
    assert "p@ss" not in origins.short_name(url)


def test_a_password_with_an_at_sign_is_in_no_error_and_no_folder_s_name() -> None:
    for url in ("https://me:t0p@secret@127.0.0.1:1/api.git", "https://me:t0p@secret@127.0.0.1:1"):
        with pytest.raises(SourceError) as failure:
            corpus.read([url])
        assert "t0p" not in str(failure.value)
        assert "secret" not in str(failure.value)
    assert not [path for path in origins.cache_home().rglob("*") if "secret" in path.name]


NAME = "\x1b[31mred\n# heading | <b>`x`</b>.py"


def test_names_of_files_are_text_wherever_they_are_shown(checkout: Path) -> None:
    (checkout / NAME.replace("/", "_")).write_text(text(60))
    commit(checkout, "a name")
    read = corpus.read([checkout])
    paths = [document.path for document in read.documents]
    assert any(path.startswith("\\x1b[31mred\\n# heading") for path in paths)
    assert all(path.isprintable() for path in paths)
    assert markdown.code("a`b") == "``a`b``"
    assert markdown.prose("<b>|[x](y)\x1b") == r"\<b\>\|\[x\](y)\\x1b"
    assert markdown.table(["a"], [[markdown.code("x|y")]]).endswith("| `x\\|y` |")
    assert plain("[red]\x1b[31m\u202e") == "\\[red]\\x1b[31m\\u202e"


def test_an_error_that_quotes_a_name_sends_nothing_to_the_terminal(tmp_path: Path) -> None:
    found = call("starling_training", tmp_path / "\x1b]0;title\x07\nsecond line", "--base", "tiny")
    assert found.returncode == 2
    assert "\x1b" not in found.stderr
    assert found.stderr.count("\n") == 1
