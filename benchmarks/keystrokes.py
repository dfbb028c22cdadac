"""Typing in real files, one request per key: Starling against llama.cpp's server and `transformers.generate`.

    python benchmarks/keystrokes.py [--base tiny|1b|DIR] [--runners torch,ggml] [--peers infill,raw,generate]
        [--adapter NAME_OR_DIR] [--passages 5] [--keys 24] [--tokens 16] [--context 800] [--burst] [--drafts]

Files of this repository are opened in their middle. A stretch there is removed and typed again one key at a time,
including new lines. Sides take turns, one key each, with the same prompts:

    torch, ggml   Starling's service in this process, with either runner; no answer cache, and drafts only
                  with --drafts (random weights make them meaningless)
    infill        llama-server's /infill, with llama.vim's request and llama.vim's settings
    raw           llama-server's /completion with Starling's ids, suffix first, cached: its best case
    generate      transformers.generate over the same weights, the whole prompt each time

Every answer has --tokens tokens on every side: stop ids and stop rules are off in Starling, `ignore_eos` is on in
llama-server, and the end id is suppressed in generate. `tokens` in the table confirms this. `key_p50_ms_per_16` is the
median of a request's time divided by its tokens, times 16, and ratios are of these (below 1: Starling is faster).
llama-server's times include HTTP, those of Starling in this process do not; with --burst every side uses HTTP.

`prompt_tokens` shows that the prompts are equal; with a larger --context, llama-server cuts those of /infill to one
batch.

The base in llama.cpp is Starling's export of it, in --gguf-type. Peers need `python benchmarks/peers.py` once. With
--adapter only Starling is measured. `generate` types only --generate-keys keys of each file, because the cost of its
keys does not vary.

--burst types a key every --pause-ms without waiting. Starling runs as a real serve-copilot, where newer requests
supersede older ones of their session; llama-server's older requests end because the client closes their connections.
`waiting` is llama.vim's own rule instead: no request is sent while one is running, and the client checks again after
100 ms. Measured are the time from the last key to its answer, and the processor seconds of the serving process.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import bursts
import click
import ours
import shapes
from passages import Passage, passages
from report import last_line, machine, p50, p90, ratio, show
from sides import Answer, Setting, Side, opened, split

from starling_server.backends.llamacpp.gguf_export import KINDS, Kind

PEERS = ("infill", "raw", "generate")
Played = list[list[Answer]]
"""By passage: the first request's answer, then one per key."""


async def take_turns(sides: dict[str, Side], typed: Sequence[Passage], generate_keys: int) -> dict[str, Played]:
    """Every side plays every passage; sides take turns by key, and each request starts after the previous answer.

    On a machine with other load, speed varies over time; taking turns spreads the variation over all sides.
    """
    played: dict[str, Played] = {name: [] for name in sides}
    names = list(sides)
    for number, passage in enumerate(typed):
        for name in names:
            played[name].append([])
        for place, (prefix, suffix) in enumerate(passage.cursors()):
            first = (number + place) % len(names)
            for name in names[first:] + names[:first]:
                if name != "generate" or place <= generate_keys:
                    played[name][-1].append(await sides[name].ask(prefix, suffix))
    return played


def figures(played: Played, tokens: int) -> dict[str, Any]:
    """Figures of one side."""
    firsts = [answers[0].ms for answers in played]
    keys = [answer for answers in played for answer in answers[1:]]
    decoded = [answer.decode_ms / (answer.tokens - 1) for answer in keys if answer.decode_ms and answer.tokens > 1]
    return {
        "first_p50_ms": round(p50(firsts), 1),
        "key_p50_ms": round(p50([answer.ms for answer in keys]), 1),
        "key_p90_ms": round(p90([answer.ms for answer in keys]), 1),
        f"key_p50_ms_per_{tokens}": round(p50([answer.ms_per_token for answer in keys]) * tokens, 1),
        "decode_ms_per_token": round(p50(decoded), 2) if decoded else None,
        "tokens_per_answer": round(sum(answer.tokens for answer in keys) / len(keys), 2),
        "prompt_tokens": round(sum(answer.prompt for answer in keys) / len(keys)),
        "computed_per_key": round(sum(answer.computed for answer in keys) / len(keys), 1),
        "cached_share": round(1 - sum(a.computed for a in keys) / sum(a.prompt for a in keys), 4),
        "keys": len(keys),
    }


def ratios(rows: dict[str, dict[str, Any]], fields: Sequence[str]) -> dict[str, float | None]:
    """Starling's figures over each peer's, from the same run."""
    return {
        f"{mine}/{peer} {field}": ratio(rows[mine][field], rows[peer][field])
        for mine in rows if mine not in PEERS
        for peer in rows if peer in PEERS
        for field in fields
    }  # fmt: skip


def one_by_one(names: Sequence[str], setting: Setting, typed: Sequence[Passage], generate_keys: int) -> dict[str, Any]:
    """The figures of the sides available here, and the reasons why others are not."""
    skipped, sides = dict[str, str](), dict[str, Side]()
    with ExitStack() as stack:
        for name in names:
            try:
                sides[name] = stack.enter_context(opened(name, setting))
            except ours.Missing as missing:
                skipped[name] = str(missing)
        played = asyncio.run(take_turns(sides, typed, generate_keys)) if sides else {}
    rows = {name: figures(answers, setting.tokens) for name, answers in played.items()}
    normalised = f"key_p50_ms_per_{setting.tokens}"
    return {"sides": rows, "ratios": ratios(rows, ("first_p50_ms", normalised)), "skipped": skipped}


@click.command(help=__doc__, context_settings={"max_content_width": 120})
@click.option("--base", default="tiny", show_default=True, help="tiny, a shape of shapes.py, or a directory.")
@click.option("--adapter", metavar="NAME_OR_DIR")
@click.option("--runners", default="torch,ggml", show_default=True)
@click.option("--peers", default=",".join(PEERS), show_default=True, help="Or none.")
@click.option("--passages", "count", default=5, show_default=True)
@click.option("--keys", default=24, show_default=True)
@click.option("--tokens", default=16, show_default=True)
@click.option("--context", default=800, show_default=True, help="Window, in tokens; prompts have some 710 with 800.")
@click.option("--generate-keys", default=2, show_default=True)
@click.option("--gguf-type", type=click.Choice(KINDS), default="q4_0", show_default=True)
@click.option("--burst", is_flag=True)
@click.option("--drafts", is_flag=True, help="Ours with drafts, a key at a time.")
@click.option("--pause-ms", default=60, show_default=True)
def main(  # noqa: PLR0913, PLR0917 - one parameter per flag
    base: str, adapter: str | None, runners: str, peers: str, count: int, keys: int, tokens: int, context: int,
    generate_keys: int, gguf_type: Kind, burst: bool, drafts: bool, pause_ms: int,
) -> None:  # fmt: skip
    where = machine()
    wanted = split(runners, ours.RUNNERS)
    others = [] if adapter else split(peers, PEERS)
    path = shapes.named(base)
    gguf = shapes.exported(path, gguf_type) if {"infill", "raw"} & set(others) else None
    setting = Setting(path, adapter, context, tokens, drafts, gguf_type, gguf)
    typed = passages(count, keys)
    if burst:
        found = bursts.measure([*wanted, *others], setting, typed, pause_ms / 1e3)
    else:
        found = one_by_one([*wanted, *others], setting, typed, generate_keys)
    show("keys in a burst" if burst else "a key at a time", found["sides"])
    for name, value in found["ratios"].items():
        click.echo(f"{name}: {value}")
    for name, reason in found["skipped"].items():
        click.echo(f"{name} skipped: {reason}")
    name = "burst" if burst else "keystrokes"
    last_line({"benchmark": name, "base": base, "gguf": gguf_type, **found, "machine": where})


if __name__ == "__main__":
    main()
