"""Adapters as nobody should meet them: each form is one good adapter with one thing wrong."""

import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from starling_server.models.adapters import WEIGHTS
from starling_server.models.manifest import MANIFEST

CONFIG = "adapter_config.json"
FIRST = "base_model.model.transformer.h.0.attn.c_attn.lora_"
FIRST_A, FIRST_B = f"{FIRST}A.weight", f"{FIRST}B.weight"
DEEP = "[" * 200_000
GIB = 1 << 30
Spoil = Callable[[Path], object]
Header = dict[str, Any]


def config(**changes: object) -> Spoil:
    """Other settings of peft's."""
    return lambda folder: _change(folder / CONFIG, changes)


def manifest(**changes: object) -> Spoil:
    """Another manifest."""
    return lambda folder: _change(folder / MANIFEST, changes)


def text(name: str, content: str | bytes) -> Spoil:
    """A file's whole content."""
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def gone(name: str) -> Spoil:
    """A file that is not there."""
    return lambda folder: (folder / name).unlink()


def instead(name: str, make: Callable[[Path], object]) -> Spoil:
    """Something else in a file's place."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


def matrices(change: Callable[[dict[str, np.ndarray]], object]) -> Spoil:
    """Other weights in a sound file."""

    def spoil(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        change(held)
        save_file(held, folder / WEIGHTS)

    return spoil


def header(change: Callable[[Header], object]) -> Spoil:
    """Another header before the same bytes."""

    def spoil(folder: Path) -> None:
        written, data = _parts(folder)
        change(written)
        _join(folder, json.dumps(written).encode(), data)

    return spoil


def raw_header(change: Callable[[bytes], bytes]) -> Spoil:
    """The same for what no JSON writer writes."""

    def spoil(folder: Path) -> None:
        written, data = _parts(folder)
        _join(folder, change(json.dumps(written).encode()), data)

    return spoil


def length(count: int) -> Spoil:
    """A lie about the header's length."""
    return lambda folder: _overwrite(folder / WEIGHTS, struct.pack("<Q", count))


def link_out(name: str) -> Spoil:
    """The file lies elsewhere."""

    def spoil(folder: Path) -> None:
        outside = folder.parent.parent / f"outside-{folder.name}"
        (folder / name).replace(outside)
        (folder / name).symlink_to(outside)

    return spoil


def sparse_rank(rank: int) -> Spoil:
    """A matrix of this rank that takes no room on the disk: the file is a hole."""

    def spoil(folder: Path) -> None:
        written, _ = _parts(folder)
        (_, inputs), (outputs, _) = written[FIRST_A]["shape"], written[FIRST_B]["shape"]
        end_a, end_b = 4 * rank * inputs, 4 * rank * (inputs + outputs)
        only = {
            FIRST_A: {"dtype": "F32", "shape": [rank, inputs], "data_offsets": [0, end_a]},
            FIRST_B: {"dtype": "F32", "shape": [outputs, rank], "data_offsets": [end_a, end_b]},
        }
        encoded = json.dumps(only).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(encoded)) + encoded)
        os.truncate(folder / WEIGHTS, 8 + len(encoded) + end_b)
        _change(folder / CONFIG, {"r": rank})

    return spoil


def bound_socket(path: Path) -> None:
    """A socket's file; its path is too long for the call, so it is named from its folder."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def pickled(folder: Path) -> None:
    """torch's old format: a program."""
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/starling-was-here'\ntR.")


def _change(path: Path, changes: Mapping[str, object]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def _parts(folder: Path) -> tuple[Header, bytes]:
    whole = (folder / WEIGHTS).read_bytes()
    (count,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + count]), whole[8 + count :]


def _join(folder: Path, written: bytes, data: bytes) -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(written)) + written + data)


def _overwrite(path: Path, start: bytes) -> None:
    path.write_bytes(start + path.read_bytes()[len(start) :])


def _set(name: str, key: str, value: object) -> Callable[[Header], object]:
    return lambda written: written[name].__setitem__(key, value)


def _values(name: str, value: float) -> Spoil:
    return matrices(lambda held: held[name].__setitem__((0, 0), value))


def _rename(old: str, new: str) -> Spoil:
    return matrices(lambda held: [held.update({k.replace(old, new): held.pop(k)}) for k in list(held) if old in k])


def _duplicated(written: bytes) -> bytes:
    entry = json.dumps({FIRST_A: json.loads(written)[FIRST_A]}).encode()
    return written[:-1] + b", " + entry[1:]


EVIL = "(a+)+$"
"""Takes for ever on a long name."""
FOREVER = "(.*.*.*.*.*.*.*)*X"
REFUSED: dict[str, tuple[Spoil, str]] = {
    "alpha-pattern-redos": (config(alpha_pattern={FOREVER: 3}), "alpha_pattern"),
    "alpha-pattern-nested": (config(alpha_pattern={EVIL: 3}), "alpha_pattern"),
    "rank-pattern-redos": (config(rank_pattern={FOREVER: 3}), "rank_pattern"),
    "alpha-pattern-no-regex": (config(alpha_pattern={"(": 3}), "alpha_pattern"),
    "alpha-pattern-list": (config(alpha_pattern=[1]), "alpha_pattern"),
    "alpha-pattern-of-text": (config(alpha_pattern={"c_attn": "much"}), "alpha_pattern"),
    "alpha-pattern-many": (config(alpha_pattern={f"layer{n}.c": 1 for n in range(20_000)}), "alpha_pattern"),
    "alpha-nan": (text(CONFIG, '{"peft_type": "LORA", "r": 4, "lora_alpha": NaN}'), "is not valid JSON"),
    "alpha-infinite": (text(CONFIG, '{"peft_type": "LORA", "r": 4, "lora_alpha": 1e999}'), "lora_alpha"),
    "alpha-zero": (config(lora_alpha=0), "lora_alpha"),
    "alpha-negative": (config(lora_alpha=-8), "lora_alpha"),
    "alpha-text": (config(lora_alpha="8"), "lora_alpha"),
    "alpha-bool": (config(lora_alpha=True), "lora_alpha"),
    "alpha-huge": (config(lora_alpha=1e300), "lora_alpha"),
    "alpha-missing": (text(CONFIG, '{"peft_type": "LORA", "r": 4}'), "lora_alpha"),
    "rank-million": (config(r=1_000_000), "rank"),
    "rank-zero": (config(r=0), "rank"),
    "rank-negative": (config(r=-4), "rank"),
    "rank-bool": (config(r=True), "rank"),
    "rank-float": (config(r=4.5), "rank"),
    "rank-pattern-other": (config(rank_pattern={"c_attn": 3}), "rank"),
    "rank-million-sparse": (sparse_rank(1_000_000), "rank"),
    "config-deep": (text(CONFIG, DEEP), "is not valid JSON"),
    "config-list": (text(CONFIG, "[]"), "not a JSON object"),
    "config-empty": (text(CONFIG, ""), "is not valid JSON"),
    "config-huge": (text(CONFIG, "{" + " " * (3 << 20) + "}"), "larger than"),
    "config-not-utf8": (text(CONFIG, b'{"\xff": 1}'), "is not valid JSON"),
    "config-twice": (text(CONFIG, '{"peft_type":"LORA","r":4,"lora_alpha":8,"lora_alpha":9}'), "twice"),
    "config-digits": (text(CONFIG, '{"peft_type":"LORA","r":4,"lora_alpha":' + "9" * 5000 + "}"), "not valid JSON"),
    "config-missing": (gone(CONFIG), f"has no {CONFIG}"),
    "config-fifo": (instead(CONFIG, os.mkfifo), "not a regular file"),
    "config-folder": (instead(CONFIG, Path.mkdir), "not a regular file"),
    "config-socket": (instead(CONFIG, bound_socket), "not a regular file"),
    "config-device": (instead(CONFIG, lambda path: path.symlink_to("/dev/zero")), "outside"),
    "config-link-out": (link_out(CONFIG), "outside"),
    "config-link-loop": (instead(CONFIG, lambda path: path.symlink_to(path.name)), "cannot be read"),
    "config-dora": (config(use_dora=True), "more than a LoRA"),
    "manifest-deep": (text(MANIFEST, DEEP), "damaged"),
    "manifest-list": (text(MANIFEST, "[]"), "damaged"),
    "manifest-empty": (text(MANIFEST, ""), "damaged"),
    "manifest-huge": (text(MANIFEST, "{" + " " * (9 << 20) + "}"), "larger than"),
    "manifest-fifo": (instead(MANIFEST, os.mkfifo), "not a regular file"),
    "manifest-folder": (instead(MANIFEST, Path.mkdir), "not a regular file"),
    "manifest-link-out": (link_out(MANIFEST), "outside"),
    "manifest-types": (manifest(base="tiny", fim=7), "damaged at base"),
    "manifest-data": (manifest(data=[1]), "damaged at data"),
    "manifest-sources": (manifest(data={"sources": 5}), "damaged at data"),
    "manifest-naive-time": (manifest(created="2024-01-01T00:00:00"), "damaged at created"),
    "manifest-no-room": (
        manifest(fim={"family": "gpt_bigcode", "order": "spm", "context_tokens": -5, "max_tokens": -5}),
        "damaged at fim",
    ),
    "manifest-all-middle": (
        manifest(fim={"family": "gpt_bigcode", "order": "spm", "context_tokens": 64, "max_tokens": 64}),
        "damaged at fim",
    ),
    "manifest-newer": (manifest(format=9), "newer Starling"),
    "weights-empty": (text(WEIGHTS, b""), "not a complete safetensors"),
    "weights-short": (lambda folder: os.truncate(folder / WEIGHTS, 5), "not a complete safetensors"),
    "weights-cut": (lambda folder: os.truncate(folder / WEIGHTS, 20_000), "bytes"),
    "weights-longer": (lambda folder: os.truncate(folder / WEIGHTS, 9 * GIB), "bytes"),
    "weights-text": (text(WEIGHTS, "not weights at all"), "not a complete safetensors"),
    "weights-fifo": (instead(WEIGHTS, os.mkfifo), "not a regular file"),
    "weights-folder": (instead(WEIGHTS, Path.mkdir), "not a regular file"),
    "weights-device": (instead(WEIGHTS, lambda path: path.symlink_to("/dev/zero")), "outside"),
    "weights-link-out": (link_out(WEIGHTS), "outside"),
    "weights-dangling": (instead(WEIGHTS, lambda path: path.symlink_to("nowhere")), f"has no {WEIGHTS}"),
    "weights-pickle": (pickled, "adapter_model.bin"),
    "weights-missing": (gone(WEIGHTS), f"has no {WEIGHTS}"),
    "header-zero": (length(0), "not a complete safetensors"),
    "header-huge": (length(1 << 62), "not a complete safetensors"),
    "header-deep": (raw_header(lambda _: DEEP.encode()), "header"),
    "header-list": (raw_header(lambda _: b"[1, 2]"), "header"),
    "header-large": (raw_header(lambda old: old + b" " * (9 << 20)), "header"),
    "header-twice": (raw_header(_duplicated), "twice"),
    "header-entry": (header(lambda written: written.__setitem__(FIRST_A, 7)), "header"),
    "header-no-dtype": (header(lambda written: written[FIRST_A].pop("dtype")), "header"),
    "dtype-unknown": (header(_set(FIRST_A, "dtype", "F31")), "F31"),
    "dtype-integer": (header(_set(FIRST_A, "dtype", "I32")), "I32"),
    "dtype-list": (header(_set(FIRST_A, "dtype", ["F32"])), "header"),
    "dtype-narrow": (header(_set(FIRST_A, "dtype", "BF16")), "header"),
    "shape-overflow": (header(_set(FIRST_A, "shape", [1 << 62, 1 << 62])), "header"),
    "shape-negative": (header(_set(FIRST_A, "shape", [-4, -320])), "header"),
    "shape-float": (header(_set(FIRST_A, "shape", [4.0, 320])), "header"),
    "shape-text": (header(_set(FIRST_A, "shape", "4x320")), "header"),
    "shape-flat": (header(_set(FIRST_A, "shape", [4 * 320])), "no matching lora_A and lora_B"),
    "shape-turned": (header(_set(FIRST_A, "shape", [320, 4])), "no matching lora_A and lora_B"),
    "offsets-overlap": (
        header(lambda written: written[FIRST_B].__setitem__("data_offsets", written[FIRST_A]["data_offsets"])), "header"
    ),
    "offsets-negative": (header(_set(FIRST_A, "data_offsets", [-5120, 0])), "header"),
    "offsets-backwards": (header(_set(FIRST_A, "data_offsets", [5120, 0])), "header"),
    "offsets-far": (header(_set(FIRST_A, "data_offsets", [1 << 60, (1 << 60) + 5120])), "header"),
    "offsets-three": (header(_set(FIRST_A, "data_offsets", [0, 1, 2])), "header"),
    "half-a-pair": (matrices(lambda held: held.pop(FIRST_B)), "no matching lora_A and lora_B"),
    "no-matrices": (matrices(dict.clear), "no matrices"),
    "not-lora": (_rename("lora_A", "lora_C"), "which a LoRA does not have"),
    "no-such-layer": (_rename("transformer.h.0.", "transformer.h.99."), "does not have"),
    "layer-escapes": (_rename("transformer.h.0.attn.c_attn", "__class__.__init__"), "does not have"),
    "a-norm": (_rename("transformer.h.0.attn.c_attn", "transformer.h.0.ln_1"), "fit"),
    "wide": (
        matrices(lambda held: held.update({FIRST_A: np.ones((4, 321), np.float32)})), "fit"
    ),
    "nan": (_values(FIRST_A, float("nan")), "not finite"),
    "infinite": (_values(FIRST_B, float("inf")), "not finite"),
    "value-huge": (_values(FIRST_B, 1e38), "too large to compute with"),
    "other-base": (
        manifest(base={"id": "big", "fingerprint": "0" * 64, "model_type": "gpt_bigcode"}), "was trained on base"
    ),
}  # fmt: skip
"""By name: how it is made, and what its refusal says."""
HARMLESS: dict[str, Spoil] = {
    "target-modules-redos": config(target_modules=FOREVER, exclude_modules=EVIL),
    "other-base-named": config(base_model_name_or_path="http://127.0.0.1:9/evil", revision="main"),
    "asks-for-code": config(auto_map={"AutoModel": "evil--code.Model"}, trust_remote_code=True),
    "code-beside": text("modeling.py", "raise SystemExit"),
    "alpha-by-name": config(alpha_pattern={"c_proj": 8, r"transformer\.h\..*\.c_attn": 8, "^other": 1}),
}
"""What looks dangerous, is never followed, and computes what it should."""
ODD_NAMES = (
    b"not-utf8-\xff\xfe", b"new\nline", b"escape-\x1b[31mred", b"tab\there", b"-rf", b"base", b"n" * 250,
    b"\xe2\x80\xaertl",
)  # fmt: skip
"""Folders whose names no request could spell or no log should show."""
