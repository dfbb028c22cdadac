"""The kinds of SOURCE: a folder, a git URL, a dataset on the Hub, a file of rows."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock
from platformdirs import user_cache_path

from starling_server.errors import SourceError
from starling_server.files import git
from starling_server.printable import printable
from starling_training import processes

Kind = Literal["folder", "hub", "rows"]
GZIP = ".gz"
ROWS = frozenset({".jsonl", ".ndjson", ".parquet"})
"""Extensions of files with one row per source file."""
SHORTEST_HIDDEN = 3
"""Min characters of a login part that is redacted everywhere; replacing shorter ones would garble messages."""
_URL = re.compile(r"(https?|ssh|git|file)://|[\w.-]+@[\w.-]+:")
_HUB = re.compile(
    r"hf:(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?(?::(?P<split>[\w\[\]%:]+))?"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where files come from."""

    named: str
    """The name given by the user, without the password or token of a URL."""
    kind: Kind
    path: Path
    """A local folder or file; unused for a dataset on the Hub."""
    dataset: str = ""
    revision: str | None = None
    split: str = "train"
    config: str | None = None
    """Configuration of the dataset, if it has several."""

    @property
    def name(self) -> str:
        """Short name of the folder, repository or dataset."""
        return printable((self.dataset or self.path.resolve().name).rpartition("/")[2].removesuffix(".git"))

    @property
    def place(self) -> str:
        """Location of a folder or file named by its path; empty for other origins."""
        return str(self.path.resolve()) if Path(self.named).expanduser() == self.path else ""


def cache_home() -> Path:
    """Folder for clones and cleaned sources: STARLING_CACHE_DIR, or the platform's cache folder."""
    return Path(os.environ.get("STARLING_CACHE_DIR") or user_cache_path("starling"))


def resolve(named: str) -> Origin:
    """The origin for `named`, with a git URL cloned; raises SourceError."""
    if named.startswith("hf:"):
        return _hub(named)
    if _URL.match(named):
        return Origin(shown(named), "folder", clone(named))
    path = Path(named).expanduser()
    if path.is_dir():
        return Origin(named, "folder", path)
    if path.is_file() and Path(path.name.removesuffix(GZIP)).suffix in ROWS:
        return Origin(named, "rows", path)
    what = "is a file of no kind that is read here" if path.exists() else "does not exist"
    raise SourceError(
        f"The source {shown(named)} {what}: name a directory, a git URL, hf:OWNER/DATASET, or a .jsonl, .jsonl.gz or "
        ".parquet file."
    )


def short_name(named: str) -> str:
    """Name of a source before it is read: its folder, repository or dataset."""
    path = Path(named).expanduser()
    named = named if path.exists() else shown(named)
    plain = "/".join(re.split("[@:]", named[3:])[0].split("/")[:2]) if named.startswith("hf:") else named
    last = path.resolve().name if path.exists() else re.split(r"[/:]", plain.rstrip("/"))[-1]
    return re.sub(r"\.(git|jsonl|ndjson|parquet)(\.gz)?$", "", last)


def shown(url: str) -> str:
    """`url` without credentials, neither before the host nor in a query. A path is unchanged.

    A password may contain `@`, and if it is not encoded, `/`, `?` or `#` too: in that case the port is invalid, and the
    last `@` ends the password.
    """
    scheme, marks, rest = url.partition("://") if "://" in url else ("", "", url)
    if not marks and not re.match(r"[^/@\s]+:[^/\s]*@", rest):
        return url
    authority = re.sub(r"\[[\da-fA-F:.]*\]", lambda v6: "." * len(v6[0]), re.split(r"[/?#]", rest, maxsplit=1)[0])
    torn = "@" not in authority and "@" in rest and re.search(r":(?!\d*$)", authority)
    end = rest.rfind("@") if torn else authority.rfind("@")
    return scheme + marks + re.split(r"[?#]", rest[end + 1 :], maxsplit=1)[0]


def _unsaid(text: str, url: str) -> str:
    """git's message about `url` without credentials; git and curl shorten such addresses in ways of their own."""
    text = text.replace(url, shown(url))
    scheme, marks, rest = url.partition("://")
    login = rest[: max(0, rest.rfind("@"))] if marks and shown(url) != url else ""
    secret = login.partition(":")[2] or (login if scheme.lower().startswith("http") else "")
    for part in sorted({secret, *re.split(r"[@:/?#]", secret)}, key=len, reverse=True):
        text = text.replace(part, "***") if len(part) >= SHORTEST_HIDDEN else text
    return re.sub(r"(\w+://)?[^\s'\"]*@", r"\1", text)


def clone(url: str) -> Path:
    """A shallow clone of `url` in the cache, updated; raises SourceError."""
    key = hashlib.sha256(url.encode()).hexdigest()[:12]
    name = re.sub(r"\W+", "-", shown(url).rstrip("/").rpartition("/")[2].removesuffix(".git")) or "repository"
    folder = cache_home() / "clones" / key / name
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # git stores the URL there, including a token
    with FileLock(folder.parent / "lock"):
        if not (folder / ".git").exists():
            no_more = ("--no-recurse-submodules", "--template=")
            _git(url, folder.parent, "clone", "--quiet", "--depth", "1", *no_more, "--", url, folder.name)
        elif processes.is_first():  # other processes of a run read the clone of the first
            _git(url, folder, "fetch", "--quiet", "--depth", "1", "origin", "HEAD")
            _git(url, folder, "reset", "--quiet", "--hard", "FETCH_HEAD")
    return folder


def _git(url: str, folder: Path, *arguments: str) -> None:
    try:
        done = git.run_online(folder, *arguments)
    except FileNotFoundError as error:
        raise SourceError(f"{shown(url)} is a git URL, but git is not installed: install git.") from error
    if done.returncode:
        reason = _unsaid(git.complaint(done.stderr), url)
        raise SourceError(f"git cannot fetch {shown(url)} ({reason}): check the address and your access to it.")


def _hub(named: str) -> Origin:
    match = _HUB.fullmatch(named)
    if not match:
        raise SourceError(
            f"{named} is not a dataset: write hf:OWNER/DATASET or hf:OWNER/DATASET/CONFIG@REVISION:SPLIT."
        )
    return Origin(named, "hub", Path(), match["name"], match["revision"], match["split"] or "train", match["config"])
