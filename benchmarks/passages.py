"""Replayed typing: real files with a stretch in their middle removed and typed again, one key at a time."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = (
    "training/starling_training/report/summary.py",
    "server/starling_server/backends/torch/loading.py",
    "training/starling_training/report/plots.py",
    "lsp/starling_lsp/server.py",
    "training/starling_training/publish/push.py",
    "training/starling_training/fit/trainer.py",
    "training/starling_training/report/model_card.py",
    "training/starling_training/training_run.py",
)
"""Files of this repository, which the bundled base was not trained on; each is longer than the windows used here."""
KEY = re.compile(r"\n[ \t]*|.", re.DOTALL)
"""One key's text: a new line includes its indentation, as inserted by editors."""
LEAD = 12
"""Keys before the first new line, so that a short run includes one."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One place in one file."""

    name: str
    before: str
    """Text before the cursor when the document is opened."""
    keys: tuple[str, ...]
    after: str

    def cursors(self) -> Iterator[tuple[str, str]]:
        """Prefix and suffix: as opened, then after each key."""
        prefix = self.before
        yield prefix, self.after
        for key in self.keys:
            prefix += key
            yield prefix, self.after


def passages(count: int, keys: int) -> list[Passage]:
    """The first `count` files of this repository, opened in their middle."""
    assert count <= len(FILES), f"at most {len(FILES)} passages"
    return [passage(name, (ROOT / name).read_text(encoding="utf-8"), keys) for name in FILES[:count]]


def passage(name: str, text: str, keys: int) -> Passage:
    """The stretch that starts `LEAD` characters before the end of a line in the middle; the lines it touches are
    removed.
    """
    lines = text.splitlines(keepends=True)
    middle = next(at for at in range(len(lines) // 2, len(lines)) if len(lines[at].strip()) > LEAD)
    end = sum(map(len, lines[: middle + 1])) - 1
    start = end - LEAD
    typed = KEY.findall(text[start:])[:keys]
    rest = text.find("\n", start + len("".join(typed)))
    return Passage(name, text[:start], tuple(typed), text[rest:] if rest >= 0 else "")


def texts(paths: Sequence[Path]) -> Iterator[str]:
    """The Python files in these files and folders that are long enough."""
    for path in paths:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            text = file.read_text(encoding="utf-8", errors="replace")
            if text.count("\n") >= 40:
                yield text
