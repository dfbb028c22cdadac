"""llama.cpp's server as a peer, with llama.vim's request and with the fastest request.

It is started with the batch, context and reuse settings recommended in llama.vim's README (its `--fim-...-default`
presets), with another model, and with as many threads as cores: its default may be half of them.
"""

import os
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from ours import Missing
from peers import program

RECOMMENDED = ("--ctx-size", "0", "--batch-size", "1024", "--ubatch-size", "1024", "--cache-reuse", "256", "-ngl", "99")
READY_SECONDS = 300
ROOM = 8192
"""Positions for all slots of the server together, if the model has fewer (a slot is limited to the model's). A request
that ends because its client disconnected holds its slot for a moment longer.
"""
GREEDY: dict[str, Any] = {
    "samplers": ["top_k"], "top_k": 1, "temperature": 0.0, "ignore_eos": True, "stream": False, "cache_prompt": True,
}  # fmt: skip


@contextmanager
def serving(gguf: Path, context: int, *more: str) -> Generator[tuple[str, int]]:
    """Address and process id of a llama-server with this model and `context` positions; raises Missing if it is not
    built.
    """
    binary = program("llama-server")
    if binary is None:
        raise Missing("llama-server is not built: run benchmarks/peers.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = ("--threads", str(os.cpu_count()), *(("--ctx-size", str(ROOM)) if context < ROOM else ()))
    command = [str(binary), "-m", str(gguf), "--port", str(port), *RECOMMENDED, *own, *more]
    as_it_comes = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}  # from report.py
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=as_it_comes) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process)
            yield url, process.pid
        finally:
            process.terminate()


def infill(prefix: str, suffix: str, tokens: int) -> dict[str, Any]:
    """llama.vim's body for `/infill`: whole lines before as prefix, the line's start as prompt, the rest as suffix.

    Fields of llama.vim that would change the length of answers are left out: `n_indent`, and `t_max_predict_ms`, which
    ends an answer after its first line. Sampling is greedy. No chunks of other files.
    """
    lines, newline, start = prefix.rpartition("\n")
    return {
        **GREEDY,
        "input_prefix": lines + newline,
        "input_suffix": suffix,
        "input_extra": [],
        "prompt": start if start.strip() else "",
        "n_predict": tokens,
        "stop": [],
        "t_max_prompt_ms": 500,
        "response_fields": ["content", "timings/prompt_n", "timings/predicted_n", "truncated", "tokens_cached"],
    }


def raw(prompt: Sequence[int], tokens: int) -> dict[str, Any]:
    """The body of `/completion` for ids: the suffix first, so that a key adds tokens at the end.

    The slot is fixed: in a burst the server would otherwise use another slot than the one of the ending request, with
    an empty cache, and read the whole prompt again.
    """
    fields = ["content", "timings/prompt_n", "timings/predicted_n", "truncated", "tokens_cached"]
    one_slot = {"id_slot": 0, "n_cache_reuse": 0}
    return {**GREEDY, **one_slot, "prompt": list(prompt), "n_predict": tokens, "response_fields": fields}


async def post(client: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer; cancelling closes the connection, which stops the server's work."""
    response = await client.post(path, json=body)
    response.raise_for_status()
    return response.json()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + READY_SECONDS
    with httpx2.Client(base_url=url, trust_env=False) as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                if client.get("/health").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
    raise Missing("llama-server did not start with this model")
