"""A git checkout whose own configuration names programs: each leaves a witness where git runs it."""

import hashlib
import os
import stat
import struct
import subprocess
from pathlib import Path

HOOKS = (
    "applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-applypatch", "post-checkout", "post-commit",
    "post-index-change", "post-merge", "post-receive", "post-rewrite", "post-update", "pre-applypatch", "pre-auto-gc",
    "pre-commit", "pre-merge-commit", "pre-push", "pre-rebase", "pre-receive", "prepare-commit-msg", "push-to-checkout",
    "reference-transaction", "sendemail-validate", "update",
)  # fmt: skip
PROGRAMS = (
    "core.fsmonitor", "core.sshCommand", "core.gitProxy", "core.pager", "core.editor", "core.askPass",
    "core.alternateRefsCommand", "gpg.program", "gpg.openpgp.program", "gpg.ssh.program", "gpg.x509.program",
    "gpg.ssh.defaultKeyCommand", "diff.external", "diff.evil.command", "diff.evil.textconv", "filter.evil.clean",
    "filter.evil.smudge", "filter.evil.process", "merge.evil.driver", "interactive.diffFilter", "sequence.editor",
    "pager.log", "pager.ls-files", "pager.rev-list", "pager.cat-file", "uploadpack.packObjectsHook",
    "remote.origin.uploadpack", "remote.origin.receivepack", "trailer.sign.command", "web.browser",
)  # fmt: skip
"""Keys whose value is a command."""
SHELL = ("credential.helper", "alias.ls-files", "alias.log", "alias.cat-file", "submodule.inner.update")
"""Keys whose value is a command behind a '!'."""
REMOTES = ("ssh", "ext", "file", "vcs", "instead", "git", "http")
"""Ways to get what a partial clone lacks."""


def plant(folder: Path, witnesses: Path, remote: str = "ssh") -> None:
    """Give the checkout at `folder` a configuration in which every program leaves a file in `witnesses`."""
    witnesses.mkdir(exist_ok=True)
    tools = witnesses.with_name(witnesses.name + "-tools")
    tools.mkdir(exist_ok=True)
    lines = list[str]()
    for key in PROGRAMS:
        lines += _entry(key, str(program(tools / key, witnesses / key)))
    for key in SHELL:
        lines += _entry(key, f"!{program(tools / key, witnesses / key)}")
    hooks = tools / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in HOOKS:
        program(hooks / name, witnesses / f"hook {name}")
        program(folder / ".git" / "hooks" / name, witnesses / f"own hook {name}")
    lines += _entry("core.hooksPath", str(hooks))
    lines += _entry("log.showSignature", "true") + _entry("color.ui", "always") + _entry("submodule.recurse", "true")
    lines += _entry("protocol.allow", "always") + _entry("protocol.ext.allow", "always")
    lines += _remote(remote, tools, witnesses)
    (tools / "included").write_text(
        "\n".join(_entry("core.fsmonitor", str(program(tools / "i", witnesses / "include"))))
    )
    lines += _entry("include.path", str(tools / "included")) + _entry(
        "includeIf.gitdir:/.path", str(tools / "included")
    )
    lines += _entry("core.repositoryFormatVersion", "1") + _entry("extensions.partialClone", "origin")
    with (folder / ".git" / "config").open("a") as config:
        config.write("\n" + "\n".join(lines) + "\n")


def program(path: Path, witness: Path) -> Path:
    """A script that leaves `witness` and fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho \"$0 $@\" >> '{witness}'\nexit 1\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


def sign(folder: Path) -> None:
    """Make the newest commit one with a signature, which only a program could check."""
    git = ("git", "-C", str(folder))
    text = subprocess.run([*git, "cat-file", "commit", "HEAD"], check=True, capture_output=True, text=True).stdout
    head, body = text.split("\n\n", 1)
    signed = f"{head}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ\n -----END PGP SIGNATURE-----\n\n{body}"
    made = subprocess.run(
        [*git, "hash-object", "-t", "commit", "-w", "--stdin"], check=True, capture_output=True, text=True, input=signed
    )
    subprocess.run([*git, "update-ref", "HEAD", made.stdout.strip()], check=True)


def forget(folder: Path, *revisions: str) -> None:
    """Take objects out of the checkout's store: a partial clone would fetch them."""
    for revision in revisions:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", revision], check=True, capture_output=True, text=True
        ).stdout.strip()
        (folder / ".git" / "objects" / found[:2] / found[2:]).unlink()


def index(folder: Path, names: list[str]) -> None:
    """Write an index that lists `names`, as git itself would not; its format is git's `index-format`, version 2."""
    entries = b""
    for name in sorted(map(os.fsencode, names)):
        entry = struct.pack(">6I", 0, 0, 0, 0, 0, 0) + struct.pack(">4I", 0o100644, 0, 0, 0) + b"\x11" * 20
        entry += struct.pack(">H", len(name)) + name
        entries += entry + b"\0" * (8 - len(entry) % 8)
    whole = b"DIRC" + struct.pack(">2I", 2, len(names)) + entries
    (folder / ".git" / "index").write_bytes(whole + hashlib.sha1(whole).digest())


def _remote(kind: str, tools: Path, witnesses: Path) -> list[str]:
    helper = program(tools / "ext", witnesses / "remote ext")
    urls = {
        "ssh": "ssh://nobody@127.0.0.1/x.git",
        "ext": f"ext::{helper} x",
        "file": tools.as_uri(),
        "vcs": "x",
        "instead": "innocent://x",
        "git": "git://127.0.0.1:1/x",
        "http": "http://nobody@127.0.0.1:1/x",
    }
    lines = _entry("remote.origin.url", urls[kind]) + _entry("remote.origin.promisor", "true")
    if kind == "vcs":
        lines += _entry("remote.origin.vcs", "ext")
    return lines + _entry(f"url.ext::{helper} .insteadOf", "innocent://")


def _entry(key: str, value: str) -> list[str]:
    section, _, name = key.rpartition(".")
    head, dot, sub = section.partition(".")
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    escaped = sub.replace("\\", "\\\\").replace('"', '\\"')
    return [f'[{head} "{escaped}"]' if dot else f"[{head}]", f'\t{name} = "{quoted}"']
