"""A new user's first minute: start-up time, memory, and the suggestions in ten typical first places.

    python benchmarks/first_minute.py [--base tiny] [--adapter NAME] [--quantize nf4] [--places 100]

Starts a real `serve-copilot` and sends HTTP requests: in ten places that a new user is likely to try, written before
any answer was seen, and in the middle of files of this repository. Each request is the first in its place, so the whole
prompt is read. `started` is the time from the command to its announcement, `resident` the process's memory at the end.
Linux.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from random import Random
from time import perf_counter
from typing import Any

import psutil
import report
from passages import FILES, ROOT

from starling_server.client import Client
from starling_server.schema import CompleteRequest
from starling_training.examples.spans import draw, is_asked

CURSOR = "▏"
FIRST = (
    "def add(a, b):\n    return ▏\n",
    "def is_even(n):\n    return n % 2 ▏\n",
    "import os\nimport ▏\n\n\ndef main():\n    print(sys.argv[1:])\n",
    "names = ['ada', 'grace', 'alan']\n\nfor name in ▏:\n    print(name)\n",
    "import json\n\n\ndef read_config(path):\n    with open(path) as ▏\n",
    "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        ▏\n",
    "import logging\n\nlogger = logging.▏\n",
    "def main():\n    print('hello')\n\n\nif __name__ ▏\n",
    "def divide(a, b):\n    try:\n        return a / b\n    except ▏\n",
    "def total(prices):\n    result = 0\n    for price in prices:\n        ▏\n    return result\n",
)


@contextmanager
def served(flags: Sequence[str]) -> Generator[tuple[str, float, psutil.Process]]:
    """A running server: its address, the seconds until its announcement, its process."""
    command = [sys.executable, "-m", "starling_server", "--port", "0", *flags]
    began = perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            assert said.startswith("Listening on "), "serve-copilot did not start: see its message above"
            yield said.removeprefix("Listening on ").strip(), perf_counter() - began, psutil.Process(server.pid)
        finally:
            server.terminate()


def middles(count: int) -> list[CompleteRequest]:
    """Likely cursor positions, drawn as for training, with the rest of the text there removed."""
    random, texts = Random(0), [(ROOT / name).read_text(encoding="utf-8") for name in FILES]
    asked = list[CompleteRequest]()
    while len(asked) < count:
        text = random.choice(texts)
        for span in draw(text, 1, random, lambda span: span.kind == "line", "Python"):
            if is_asked(text, span):
                asked.append(CompleteRequest(prefix=text[: span.start], suffix=text[span.end :], language="python"))
    return asked


def first(place: str) -> CompleteRequest:
    """The request at the mark in `place`."""
    prefix, _, suffix = place.partition(CURSOR)
    return CompleteRequest(prefix=prefix, suffix=suffix, language="python")


async def ask(url: str, requests: Sequence[CompleteRequest]) -> tuple[list[str], list[float]]:
    """The suggestions and the milliseconds of each request."""
    texts, times = list[str](), list[float]()
    async with Client(url) as client:
        for request in requests:
            began = perf_counter()
            texts.append((await client.complete(request)).choices[0].text)
            times.append((perf_counter() - began) * 1e3)
    return texts, times


def options() -> argparse.Namespace:
    """The command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--adapter", default="")
    parser.add_argument("--quantize", default="nf4")
    parser.add_argument("--places", type=int, default=100)
    return parser.parse_args()


def main() -> None:
    asked, machine = options(), report.machine()
    chosen = ("--adapter", asked.adapter) if asked.adapter else ()
    with served(("--base", asked.base, "--quantize", asked.quantize, *chosen)) as (url, started, process):
        texts, _ = asyncio.run(ask(url, [first(place) for place in FIRST]))
        found, times = asyncio.run(ask(url, middles(asked.places)))
        memory = process.memory_info().rss / 1e6
    for place, text in zip(FIRST, texts, strict=True):
        print(place.replace(CURSOR, f"[{text}]").rstrip(), end="\n\n")
    figures: dict[str, Any] = {
        "started, s": round(started, 1),
        "resident, MB": round(memory),
        "suggestion p50, ms": round(report.p50(times)),
        "suggestion p90, ms": round(report.p90(times)),
        "without a suggestion": found.count(""),
    }
    report.show(f"{asked.places} places", {asked.quantize: figures})
    report.last_line({"machine": machine, "base": asked.base, "first": texts, **figures})


if __name__ == "__main__":
    main()
