"""Readers for the published files of public benchmarks: rows to tasks.

Each row is one hole. Context outside the current file (the snippets of other files in CrossCodeEval and RepoBench) is
not used, because serving does not accept it yet.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starling_server.config import Mode
from starling_server.errors import SourceError
from starling_training.evaluation.execute import Calls, Check, Inputs, Program
from starling_training.examples.spans import Hole, Kind
from starling_training.sources import origins, tables

Name = Literal["humaneval-infilling", "safim", "crosscodeeval", "repobench", "santacoder"]
Row = Mapping[str, Any]
EXTENSIONS = {
    "python": "py", "py": "py", "java": "java", "javascript": "js", "js": "js", "typescript": "ts", "cpp": "cpp",
    "csharp": "cs",
}  # fmt: skip
PLACEHOLDERS = {"python": "# TODO: Your code here"}
OTHER_PLACEHOLDER = "/* TODO: Your code here */"
COMPLETION = "{{completion}}"


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a benchmark."""

    path: str
    """A file name that identifies the language."""
    hole: Hole
    mode: Mode
    check: Check | None = None
    """The check that runs an answer; None if the task cannot be run here."""


def read(name: Name, named: str) -> list[Task]:
    """The tasks in a file or a dataset on the Hub; raises SourceError."""
    origin = origins.resolve(named)
    if origin.kind == "folder":
        raise SourceError(
            f"{origin.named} is a folder: name the benchmark's .jsonl, .jsonl.gz or .parquet file, or hf:NAME."
        )
    found = list(_tasks(READERS[name], tables.rows(origin), name, named))
    if not found:
        raise SourceError(f"{named} holds no rows: name a file of {name}.")
    return found


def _tasks(reader: Callable[[Row], Task], rows: Iterator[Row | str], name: str, named: str) -> Iterator[Task]:
    for number, row in enumerate(rows, 1):
        try:
            yield reader(_sound(row))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            said = row if isinstance(row, str) else f"{type(error).__name__}: {ascii(str(error)[:80])[1:-1]}"
            raise SourceError(
                f"Row {number} of {named} is not a row of {name} ({said}): name a file in the "
                "format that the benchmark was published in."
            ) from error


def _humaneval(row: Row) -> Task:
    """Columns: `task_id`, `entry_point`, `prompt`, `suffix`, `canonical_solution`, `test`.

    As in github.com/openai/human-eval-infilling; the program of its `check_program` is assembled here.
    """
    hole = settled(row["prompt"], row["canonical_solution"], row["suffix"])
    check = Program(hole.prefix, f"{hole.suffix}\n{row['test']}\ncheck({row['entry_point']})")
    return Task(f"{row['task_id']}.py", hole, _mode(hole), check)


def _safim(row: Row) -> Task:
    """Columns: `task_id`, `lang`, `prompt`, `eval_prompt`, `ground_truth`, `unit_tests` (github.com/gonglinyuan/safim).

    `prompt` has a comment at the hole. `eval_prompt` is the program with {{completion}} there. Each test is an input
    and its allowed outputs; a task without tests is a call to match.
    """
    language = row["lang"]
    prefix, suffix = row["prompt"].split(PLACEHOLDERS.get(language, OTHER_PLACEHOLDER))
    hole = settled(prefix, row["ground_truth"], suffix)
    tests = row["unit_tests"]
    tests = json.loads(tests) if isinstance(tests, str) else tests
    check: Check | None = Calls(row["ground_truth"], language)
    if tests:
        pairs = tuple((str(test["input"]), tuple(map(str, test["output"]))) for test in tests)
        before, after = row["eval_prompt"].split(COMPLETION)
        check = Inputs(before, after, pairs) if language == "python" else None
    return Task(f"{row['task_id']}.{EXTENSIONS[language]}", hole, _mode(hole), check)


def _crosscodeeval(row: Row) -> Task:
    """Columns: `prompt`, `groundtruth`, `right_context`, `metadata` with `file` (github.com/amazon-science/cceval)."""
    hole = settled(row["prompt"], row["groundtruth"], row["right_context"])
    return Task(str(row["metadata"]["file"]), hole, _mode(hole))


def _repobench(row: Row) -> Task:
    """Columns: `file_path`, `import_statement`, `cropped_code` (`code` before version 1.1), `next_line`
    (github.com/Leolty/repobench).
    """
    code = row["cropped_code"] if "cropped_code" in row else row["code"]
    prefix = f"{row['import_statement']}\n{code}".rstrip("\n") + "\n"
    return Task(str(row["file_path"]), settled(prefix, row["next_line"], ""), "line")


def _santacoder(row: Row) -> Task:
    """Columns: `name`, `language`, `prompt`, `suffix`, `canonical_solution` (bigcode/santacoder-fim-task)."""
    hole = settled(row["prompt"], row["canonical_solution"], row["suffix"])
    return Task(f"{row['name']}.{EXTENSIONS[row['language']]}", hole, _mode(hole))


def settled(prefix: Any, middle: Any, suffix: Any) -> Hole:
    """The hole as in an editor, where a newline at the end of the middle belongs to the suffix; raises TypeError."""
    if not all(isinstance(part, str) for part in (prefix, middle, suffix)):
        raise TypeError("a hole's parts are no text")
    if middle.endswith("\n"):
        middle, suffix = middle[:-1], "\n" + suffix
    kind: Kind = "block" if "\n" in middle else "line"
    return Hole(prefix, middle, suffix, kind)


def _sound(value: Any) -> Any:
    """`value` without unpaired surrogates, which programs and pages cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_sound(key): _sound(inner) for key, inner in value.items()}
    return [_sound(inner) for inner in value] if isinstance(value, list) else value


def _mode(hole: Hole) -> Mode:
    return "block" if hole.kind == "block" else "line"


READERS: dict[Name, Callable[[Row], Task]] = {
    "humaneval-infilling": _humaneval,
    "safim": _safim,
    "crosscodeeval": _crosscodeeval,
    "repobench": _repobench,
    "santacoder": _santacoder,
}
