"""Prefill without a cache: tokens per second by prompt length, Starling against llama-bench.

    python benchmarks/prefill.py [--base tiny|1b|DIR] [--lengths 128,256,512,960] [--runners torch,ggml]
        [--peers llama-bench] [--repeats 5] [--gguf-type q4_0]

Starling runs through the service in this process; chunking, cancellation checks and windowing are part of the time. The
peer is llama-bench's `pp` on Starling's export of the same base, with as many threads as cores (`python
benchmarks/peers.py` builds it).
"""

import argparse
import asyncio
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ours
import shapes
from passages import ROOT, texts
from peers import program
from report import last_line, machine, p50, ratio, show
from sides import split

from starling_server.backends.llamacpp.gguf_export import KINDS
from starling_server.completion.service import Service
from starling_server.config import ModelConfig
from starling_server.models import bases
from starling_server.prompt.fim import Fim, Tokenizer
from starling_server.schema import CompleteRequest

PEER = "llama-bench"
Speeds = dict[str, float]
"""Median tokens per second by prompt length."""


def prompt(tokenizer: Tokenizer, fim: Fim, length: int, repeat: int) -> str:
    """Code of `length` tokens including the sentinels; no two prompts share a beginning."""
    source = "\n".join(texts([ROOT / "server", ROOT / "training"]))
    start = (length * 7 + repeat * 50_021) % (len(source) // 2)
    ids = tokenizer.encode(f"# {length}.{repeat}\n" + source[start : start + 20 * length])
    return tokenizer.decode(ids[: length - fim.sentinels])


async def read(service: Service, length: int, repeats: int) -> float:
    """Median tokens per second over prompts of this length."""
    speeds = list[float]()
    for repeat in range(repeats):
        text = prompt(service.backend.tokenizer, service.backend.fim, length, repeat)
        answer = await service.complete(CompleteRequest(prefix=text, max_tokens=1, mode="block"))
        computed = answer.usage.prompt_tokens - answer.usage.cached_tokens
        speeds.append(computed / answer.timings.prefill_ms * 1e3)
    return round(p50(speeds), 1)


def measured(model: ModelConfig, lengths: Sequence[int], repeats: int) -> Speeds:
    """Starling's speeds with one runner."""
    service = ours.endless(ours.service(model, max_tokens=1, context_tokens=max(lengths) + 8))
    try:
        return {str(length): asyncio.run(read(service, length, repeats)) for length in lengths}
    finally:
        service.close()


def benched(gguf: Path, lengths: Sequence[int], repeats: int) -> Speeds:
    """llama-bench's speeds."""
    binary = program(PEER)
    if binary is None:
        raise ours.Missing("llama-bench is not built: run benchmarks/peers.py")
    sizes, threads = ",".join(map(str, lengths)), str(os.cpu_count())
    command = [str(binary), "-m", str(gguf), "-p", sizes, "-n", "0", "-r", str(repeats), "-t", threads, "-o", "json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {str(row["n_prompt"]): round(p50(row["samples_ts"]), 1) for row in json.loads(done.stdout)}


def compare(base: str, asked: argparse.Namespace, lengths: Sequence[int]) -> dict[str, Any]:
    """Every side's speeds, the ratio to the peer, and the sides that are missing."""
    rows, skipped = dict[str, Speeds](), dict[str, str]()
    for name in [*split(asked.runners, ours.RUNNERS), *split(asked.peers, [PEER])]:
        try:
            if name == PEER:
                rows[name] = benched(shapes.exported(base, asked.gguf_type), lengths, asked.repeats)
            else:
                rows[name] = measured(ours.model(base, name, ggml_type=asked.gguf_type), lengths, asked.repeats)
        except ours.Missing as missing:
            skipped[name] = str(missing)
    ratios = {
        f"{name}/{PEER} {length}": ratio(speed, rows[PEER][length])
        for name, speeds in rows.items() if name != PEER and PEER in rows
        for length, speed in speeds.items()
    }  # fmt: skip
    return {"sides": rows, "ratios": ratios, "skipped": skipped}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--lengths", default="128,256,512,960")
    parser.add_argument("--runners", default=",".join(ours.RUNNERS))
    parser.add_argument("--peers", default=PEER, help="or none")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--gguf-type", choices=KINDS, default="q4_0")
    asked = parser.parse_args()
    where, base = machine(), shapes.named(asked.base)
    most = bases.find(base).context - 8
    lengths = [length for length in map(int, asked.lengths.split(",")) if length <= most]
    found = compare(base, asked, lengths)
    show("prompt tokens a second, by length", found["sides"])
    for name, reason in found["skipped"].items():
        print(f"{name} skipped: {reason}")
    last_line({"benchmark": "prefill", "base": asked.base, "gguf": asked.gguf_type, **found, "machine": where})


if __name__ == "__main__":
    main()
