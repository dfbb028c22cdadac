"""The path of a request from the HTTP door to the backend, and of a source from the command line to ids, as run.

    python benchmarks/paths.py

Every call of a function of ours is recorded in order, in each thread of this process. One line per room, in the order
of their first call: the modules that ran, and how often the room was entered again after it was left, and from where.
A call into a room below, such as a method of `prompt.cursor.Cursor`, counts like any other. The last line is JSON.
"""

import asyncio
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import httpx2
from rooms import PACKAGES, node

REPOSITORY = Path(__file__).parents[1]
ROOTS = {str(REPOSITORY / folder / package): package for package, folder in PACKAGES.items()}
Call = tuple[str, str]
"""Thread and module."""
REQUEST = {"prefix": "def add(a, b):\n    return ", "suffix": "\n", "path": "sums.py", "session": "s", "max_tokens": 8}


class Recorder:
    """Records the module of every call of ours, in threads that start after it was made, while it is `on`."""

    def __init__(self) -> None:
        self.on = False
        self.calls = list[Call]()
        self._modules = dict[str, str]()
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    @contextmanager
    def recording(self) -> Generator[None]:
        """Record inside the block."""
        self.on = True
        try:
            yield
        finally:
            self.on = False

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.on and event == "call" and frame.f_code.co_name != "<module>":
            file = frame.f_code.co_filename
            module = self._modules.setdefault(file, module_of(file))
            if module:
                self.calls.append((threading.current_thread().name, module))


def module_of(file: str) -> str:
    """The dotted name of a file of ours; empty for any other."""
    root = next((root for root in ROOTS if file.startswith(root + "/")), "")
    return f"{ROOTS[root]}.{file.removeprefix(root + '/').removesuffix('.py').replace('/', '.')}" if root else ""


def request_path() -> list[Call]:
    """One greedy suggestion by `/complete`, from the application to torch."""
    from starling_server.auth import TokenStore
    from starling_server.completion.service import Service
    from starling_server.config import AccessConfig, ModelConfig, ServiceConfig
    from starling_server.http.app import create_app
    from starling_server.http.complete import Api
    from starling_server.http.middleware.access import Access
    from starling_server.http.middleware.limits import Allowances
    from starling_server.http.middleware.metrics import Metrics
    from starling_server.serve.start import start

    api, access, recorder = Api(), AccessConfig(), Recorder()
    api.service = start(ModelConfig(base="tiny"), ServiceConfig())

    def service() -> Service | None:
        return api.service

    guard = Access(TokenStore(None, None), frozenset(), frozenset())
    app = create_app(api, Metrics(service), guard, Allowances(access.client_rate, access.client_concurrency))

    async def ask() -> None:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            await http.post("/complete", json=REQUEST)  # late imports
            with recorder.recording():
                found = await http.post("/complete", json=REQUEST | {"prefix": f"x = 1\n{REQUEST['prefix']}"})
            found.raise_for_status()

    asyncio.run(ask())
    return recorder.calls


def source_path() -> list[Call]:
    """A dry run of `train-copilot` over a few files, in one process: command line, reading, holes, ids, plan."""
    from starling_training.train_cli import train_copilot

    recorder = Recorder()
    with TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for file in sorted((REPOSITORY / "server/starling_server/engine").glob("*.py")):
            (source / file.name).write_bytes(file.read_bytes())
        flags = [str(source), "--dry-run", "--base", "tiny", "--output", str(Path(folder) / "out")]
        with recorder.recording(), redirect_stdout(StringIO()):
            train_copilot.main(flags, standalone_mode=False)
    return recorder.calls


def show(title: str, calls: list[Call]) -> dict[str, Any]:
    """Print, for each thread, the rooms in the order of their first call, with modules and returns."""
    found = dict[str, Any]()
    for thread in dict.fromkeys(thread for thread, _ in calls):
        own = [module for name, module in calls if name == thread]
        modules, returns = stays(own)
        print(f"\n{title}, thread {thread}: {len(own)} calls in {len(modules)} rooms")
        for room, ran in modules.items():
            again = ", ".join(f"{count}x from {other}" for other, count in returns[room].most_common())
            print(f"  {room}: {', '.join(filter(None, ran))}" + (f"\n      entered again {again}" if again else ""))
        found[thread] = {"rooms": {room: [*ran] for room, ran in modules.items()}, "returns": returns}
    return found


def stays(modules: list[str]) -> tuple[dict[str, dict[str, None]], dict[str, Counter[str]]]:
    """For each room: its modules by first call, and how often it was entered again from which room."""
    ran, returns, last = dict[str, dict[str, None]](), dict[str, Counter[str]](), ""
    for module in modules:
        room = node(module)
        if room != last and room in ran:
            returns[room][last] += 1
        ran.setdefault(room, {})[module.removeprefix(room).lstrip(".")] = None
        returns.setdefault(room, Counter())
        last = room
    return ran, returns


def main() -> None:
    """Both paths."""
    paths: dict[str, Callable[[], list[Call]]] = {"request": request_path, "source": source_path}
    print(json.dumps({title: show(title, path()) for title, path in paths.items()}))


if __name__ == "__main__":
    main()
