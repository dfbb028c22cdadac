"""End-to-end demo in a few minutes: train on a repository, evaluate, serve, and complete code in held-out files.

    python -m starling_training.demo --repo PATH

It runs the real commands `train-copilot` and `serve-copilot` and sends requests to the server as any client does.
"""

import asyncio
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import click
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from starling_server.client import Client
from starling_server.command import run
from starling_server.errors import ServerUnreachable
from starling_server.models import adapters
from starling_server.printable import printable
from starling_server.schema import CompleteRequest
from starling_training.console import plain
from starling_training.examples.spans import Hole, cut, draw
from starling_training.sources import clean
from starling_training.sources.clean import Document, Raw

QUESTIONS, SHOWN_LINES = 3, 5
SHORTEST, LONGEST = 8, 80
"""Min and max characters of a line end that is completed in the demo."""
ANNOUNCEMENT = "Listening on "


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--repo", type=click.Path(path_type=Path), default=Path(), show_default=True, help="What to learn from.")
@click.option("--output", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True, help="Folder.")
@click.option("--minutes", default=4.0, show_default=True, help="Minutes of training.")
@click.option("--holes", default=40, show_default=True, help="Held-out holes that base and adapter are judged on.")
def demo(repo: Path, output: Path, minutes: float, holes: int) -> None:
    """Train on REPO with the bundled base, show whether it helped, serve the adapter, and ask it three completions."""
    console = Console()
    repo = repo.resolve()
    folder = output / adapters.name_for(repo)
    limits = ["--max-minutes", f"{minutes:g}", "--holes", str(holes)]
    _command(console, "starling_training", str(repo), "--base", "tiny", "--output", str(folder), "--overwrite", *limits)
    questions = held_out(repo, folder)
    with served(console, folder) as url:
        answers = asyncio.run(ask(url, questions))
    for question, answer in zip(questions, answers, strict=True):
        console.print(_panel(*question, answer))


def held_out(repo: Path, folder: Path) -> list[tuple[str, Hole]]:
    """A few line ends in the held-out files of the adapter in `folder`, with their paths."""
    paths: list[str] = adapters.load(folder).manifest.data["held_out"]
    found = (clean.clean(Raw(path, "", root=repo)) for path in paths)
    documents = [item.document for item in found if not isinstance(item, str)]
    random = Random(0)
    random.shuffle(documents)
    holes = [(document.path, hole) for document in documents * QUESTIONS if (hole := _hole(document, random))]
    return holes[:QUESTIONS]


async def ask(url: str, questions: Sequence[tuple[str, Hole]]) -> list[str]:
    """The server's suggestion for each question."""
    async with Client(url) as client:
        asked = [CompleteRequest(prefix=hole.prefix, suffix=hole.suffix, path=path) for path, hole in questions]
        return [(await client.complete(request)).choices[0].text for request in asked]


@contextmanager
def served(console: Console, folder: Path) -> Generator[str]:
    """Start `serve-copilot` with the adapter in `folder`; yields its address."""
    command = _python("starling_server", "--base", "tiny", "--adapter", str(folder), "--port", "0")
    console.print(f"[bold]$ serve-copilot --base tiny --adapter {plain(str(folder))} --port 0[/bold]", soft_wrap=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield _address(server)
        finally:
            server.terminate()


def _address(server: "subprocess.Popen[str]") -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(ANNOUNCEMENT):
            return line.removeprefix(ANNOUNCEMENT).strip()
    raise ServerUnreachable("serve-copilot ended before it could answer: see its message above.")


def _hole(document: Document, random: Random) -> Hole | None:
    spans = draw(document.text, 1, random, lambda span: span.kind == "line" and SHORTEST <= span.length <= LONGEST)
    return cut(document.text, spans[0]) if spans else None


def _command(console: Console, module: str, *arguments: str) -> None:
    """Run a command of the project; if it fails, exit with its status, since it has printed the error."""
    console.print(f"[bold]$ train-copilot {plain(' '.join(arguments))}[/bold]", soft_wrap=True)
    status = subprocess.run(_python(module, *arguments), check=False).returncode
    if status:
        raise click.exceptions.Exit(status)


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _panel(path: str, hole: Hole, answer: str) -> Panel:
    before = "\n".join(hole.prefix.split("\n")[-SHOWN_LINES:])
    before, answer, middle = (escape(printable(part, keep="\n\t")) for part in (before, answer, hole.middle))
    text = f"[dim]{before}[/dim]▏\n[bold]suggested[/bold]  {answer or '(nothing)'}\n[bold]was there[/bold]  {middle}"
    return Panel(text, title=plain(path), title_align="left")


def main() -> None:
    """Run the demonstration."""
    run("demo", "starling_training.demo:demo", extra="train")


if __name__ == "__main__":
    main()
