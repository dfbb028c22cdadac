"""A real serve-copilot in a process of its own, with everything that a test may want to know of it."""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

FAULTY = Path(__file__).parent / "faulty.py"
ALICE, ADMIN = "alice-s-token-0123456789", "admin-s-token-0123456789"


@dataclass(frozen=True, slots=True)
class Server:
    """One that listens."""

    url: str
    process: "subprocess.Popen[str]"
    folder: Path
    """Its data, its `tokens`, its `orders` (`faulty`) and its `log`."""

    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def order(self, what: str) -> None:
        """Plant a fault."""
        (self.folder / "orders.new").write_text(what, encoding="utf-8")
        (self.folder / "orders.new").replace(self.folder / "orders")

    def client(self, token: str | None = ALICE) -> httpx2.Client:
        """Requests that bring this token."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx2.Client(base_url=self.url, timeout=60, trust_env=False, headers=headers)

    def metric(self, name: str, **labels: str) -> float:
        """A sample at `/metrics`, 0 where there is none yet; labels that are not named may be anything."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        with self.client() as http:
            lines = http.get("/metrics").text.splitlines()
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found if all(part in line for part in wanted))


@contextmanager
def serving(
    folder: Path, *flags: str, command: Sequence[str] = ("-m", "starling_server"), stderr: str = ""
) -> Generator[Server]:
    """Start one on the tiny base, and end it; `stderr` is where it logs to if not to `log`."""
    whole = [sys.executable, *command, "--base", "tiny", "--port", "0", *flags]
    environment = {**os.environ, "STARLING_DATA_DIR": str(folder / "data"), "XDG_CONFIG_HOME": str(folder / "config")}
    with (
        Path(stderr or folder / "log").open("w", encoding="utf-8") as log,
        subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        said = process.stdout.readline()
        try:
            assert said.startswith("Listening on "), (folder / "log").read_text(encoding="utf-8")
            yield Server(said.removeprefix("Listening on ").strip(), process, folder)
        finally:
            process.kill()


def tokens(folder: Path) -> Path:
    """A file with a token for suggestions and one for adapters."""
    file = folder / "tokens"
    file.write_text(f"# who may ask\nalice:{ALICE}\n\noperator:{ADMIN}:admin\n", encoding="utf-8")
    return file


@contextmanager
def protected(folder: Path, *flags: str) -> Generator[Server]:
    """One that knows `tokens`."""
    with serving(folder, "--token-file", str(tokens(folder)), *flags) as server:
        yield server


@contextmanager
def faulty(folder: Path, *flags: str) -> Generator[Server]:
    """One whose forwards can be told to fail."""
    with serving(folder, *flags, command=(str(FAULTY), str(folder / "orders"))) as server:
        yield server
