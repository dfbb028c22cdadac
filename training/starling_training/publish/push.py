"""Uploads an adapter to the Hugging Face Hub, on request and after a second confirmation.

    python -m starling_training.publish.push ADAPTER OWNER/NAME

does the same as `train-copilot --push-to-hub OWNER/NAME` at its end. The files to upload are copied first, without the
folders, file names and code in the adapter's own folder. The copied files are listed, and only they are uploaded.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from starling_server import __version__, untrusted
from starling_server.command import run
from starling_server.errors import AdapterError, OutputError, UsageError
from starling_server.models import adapters
from starling_server.models.adapters import WEIGHTS, Adapter
from starling_server.models.manifest import MANIFEST
from starling_training.publish import public

PEFT_CONFIG, CARD = "adapter_config.json", "README.md"
REPORTS = ("report.html", "report.md")
"""Reports that quote code and contain file names."""
FLAGS = (
    click.option(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help="Upload the adapter to this Hugging Face repository, after confirmation.",
    ),
    click.option("--public", is_flag=True, help="Upload to a public repository; otherwise it must be private."),
    click.option("--push-reports", is_flag=True, help="Also upload report.html and report.md, which quote your code."),
    click.option("--yes", is_flag=True, help="Skip the confirmation."),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Destination of an upload."""

    repository: str
    """OWNER/NAME."""
    public: bool
    reports: bool
    yes: bool


def wanted(values: Mapping[str, Any]) -> Target | None:
    """The upload that the flags request, None without one; raises UsageError if it could not be done later."""
    if not values["push_to_hub"]:
        return None
    if values["method"] == "full":
        raise UsageError("--push-to-hub takes adapters, not whole models: leave out --method full, or push it by hand.")
    target = Target(values["push_to_hub"], values["public"], values["push_reports"], values["yes"])
    _check(target)
    return target


def push(folder: Path, target: Target) -> str | None:
    """Upload the adapter in `folder` after confirmation; returns its address, None if declined. `folder` is not
    changed.

    Raises AdapterError if there is no adapter, OutputError if the Hub rejects it.
    """
    adapter = adapters.load(folder)
    with TemporaryDirectory(prefix="starling-push-") as room:
        files = gather(adapter, Path(room), target.reports)
        if not (_shown(files, target) or click.confirm("Upload them?", default=False)):
            click.echo("Nothing was uploaded.")
            return None
        address = _upload(Path(room), adapter, target)
    click.echo(f"Uploaded to {address}")
    return address


def gather(adapter: Adapter, room: Path, reports: bool) -> list[Path]:
    """Copy the public files into `room`: weights, shape, card and a public manifest; reports only with `reports`."""
    manifest = public.manifest(adapter.manifest)
    for name in (WEIGHTS, CARD, *(REPORTS if reports else ())):
        if (adapter.path / name).is_file():
            shutil.copyfile(adapter.path / name, room / name)
    shape = _shape(adapter.path / PEFT_CONFIG) | {"base_model_name_or_path": manifest.base.id}
    (room / PEFT_CONFIG).write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")
    (room / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return sorted(room.iterdir())


def _shape(file: Path) -> dict[str, Any]:
    try:
        shape = untrusted.values(untrusted.read(file, untrusted.MOST_BYTES))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{file} cannot be read ({error}): train the adapter again.") from error
    if not isinstance(shape, dict):
        raise AdapterError(f"{file} is not a JSON object: train the adapter again.")
    return shape


def _check(target: Target) -> None:
    """Raise UsageError for conditions that are known to fail, before anything is trained or sent."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(target.repository)
        named = target.repository.count("/") == 1
    except HFValidationError:
        named = False
    if not named:
        raise UsageError(f"{target.repository!r} is not a repository name: write --push-to-hub OWNER/NAME.")
    if constants.HF_HUB_OFFLINE:
        raise UsageError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it, or leave out --push-to-hub.")
    if not get_token():
        raise UsageError("There is no Hugging Face token to push with: run `hf auth login` or set HF_TOKEN.")
    if not (target.yes or sys.stdin.isatty()):
        raise UsageError("There is no terminal to ask before code leaves this machine: add --yes to push anyway.")


def _shown(files: list[Path], target: Target) -> bool:
    """Print the files and the destination; returns whether the upload was already confirmed by a flag."""
    from huggingface_hub import constants

    kind = "PUBLIC" if target.public else "private"
    click.echo(f"These files leave this machine for {constants.ENDPOINT}/{target.repository}, a {kind} repository:")
    for file in files:
        click.echo(f"  {file.name:28} {file.stat().st_size:>13,} bytes")
    click.echo("An adapter can repeat code that it learnt from, word for word.")
    return target.yes


def _upload(room: Path, adapter: Adapter, target: Target) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi(library_name="starling", library_version=__version__)
    try:
        api.create_repo(target.repository, private=not target.public, exist_ok=True)
        private = api.model_info(target.repository).private
        if private or target.public:
            api.upload_folder(
                repo_id=target.repository,
                folder_path=room,
                commit_message=f"Adapter {adapter.name}, made with Starling {__version__}",
            )
    except Exception as error:  # the Hub client raises a dozen types
        raise OutputError(
            f"{target.repository} could not be pushed to ({_reason(error)}); the adapter is whole in {adapter.path}: "
            f"try again with `python -m starling_training.publish.push {adapter.path} {target.repository}`."
        ) from error
    if not (private or target.public):
        raise OutputError(
            f"{target.repository} is public already, so nothing was uploaded: name another one, or add --public."
        )
    return f"{api.endpoint}/{target.repository}"


def _reason(error: BaseException) -> str:
    """A short reason: the Hub's status, or the message of the innermost cause."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the Hub answered {status}: the token may not write there, log in with `hf auth login`"
    if status:
        return f"the Hub answered {status}"
    if error.__cause__:
        return _reason(error.__cause__)
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0].rstrip('.')}" if said else type(error).__name__


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("adapter")
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--public", is_flag=True, help="Upload to a public repository; otherwise it must be private.")
@click.option("--reports", is_flag=True, help="Also upload report.html and report.md, which quote your code.")
@click.option("--yes", is_flag=True, help="Skip the confirmation.")
def push_copilot(adapter: str, **values: Any) -> None:
    """Upload ADAPTER, a name or a folder, to OWNER/NAME on the Hugging Face Hub: its weights, its card and a manifest
    without the names of folders and files. What would leave is shown first.
    """
    target = Target(**values)
    _check(target)
    push(adapters.find(adapter).path, target)


def main() -> None:
    """Run the command."""
    run("push-copilot", "starling_training.publish.push:push_copilot", extra="train")


if __name__ == "__main__":
    main()
