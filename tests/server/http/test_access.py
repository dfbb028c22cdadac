"""A server with tokens: who gets in, from where, how often, and what it says and counts."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from support import adapter
from support.serving import ADMIN, ALICE, Server, protected, serving, tokens

from starling_server.client import Client
from starling_server.errors import RequestError
from starling_server.models import bases
from starling_server.schema import CompleteRequest

REPOSITORY = Path(__file__).parents[3]
BODY = {"prefix": "import os\nimport s", "max_tokens": 2}
PAGE = "https://code.example.org:8443"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    flags = (
        "--allow-origin",
        PAGE,
        "--allow-host",
        "starling.example.org",
        "--log-format",
        "json",
        "--verbose",
        "--no-prefetch",
    )
    with protected(tmp_path_factory.mktemp("protected"), *flags) as server:
        yield server


def test_a_rotated_token_is_taken_up_at_once(server: Server) -> None:
    file = server.folder / "tokens"
    before, new = file.read_text(encoding="utf-8"), "alice-s-next-token-0123456789"
    file.write_text(before.replace(ALICE, new), encoding="utf-8")
    try:
        with server.client(ALICE) as late, server.client(new) as early:
            assert late.post("/complete", json=BODY).status_code == 401
            assert early.post("/complete", json=BODY).status_code == 200
    finally:
        file.write_text(before, encoding="utf-8")
    with server.client(ALICE) as again:
        assert again.post("/complete", json=BODY).status_code == 200


def problem(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["detail"]


def test_without_a_token_only_the_harmless_is_answered(server: Server) -> None:
    with server.client(None) as http:
        for path in ("/complete", "/v1/adapters/x"):
            status, detail = problem(http.post(path, json=BODY))
            assert (status, "Authorization: Bearer" in detail) == (401, True)
        refused = http.get("/metrics")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="starling"')
        assert http.get("/health").json() == {"status": "ok", "base": None, "adapters": []}
        assert http.get("/ready").json() == {"status": "ok", "base": None, "adapters": []}
        assert http.get("/openapi.json").status_code == 200


def test_a_token_opens_suggestions_and_no_more(server: Server) -> None:
    with server.client(ALICE) as http:
        assert http.post("/complete", json=BODY).status_code == 200
        assert http.get("/ready").json()["base"] == "tiny"
        assert http.get("/metrics").status_code == 200
        assert problem(http.post("/v1/adapters/x")) == (
            403,
            "The token is not an admin token, which loading and unloading adapters requires: send one that "
            "--token-file lists as name:token:admin.",
        )
    for wrong in (ALICE[:-1], ALICE + "x", "x", ALICE.upper()):
        with server.client(wrong) as http:
            assert http.post("/complete", json=BODY).status_code == 401


def test_only_a_servers_own_names_are_answered(server: Server) -> None:
    """A page whose name was rebound to this address still names itself."""
    with server.client() as http:
        for host in ("evil.example.org", "evil.example.org:8077", "localhost.evil.org", ""):
            status, detail = problem(http.get("/ready", headers={"host": host}))
            assert (status, "--allow-host" in detail) == (421, True), host
        for host in ("localhost:1", "127.0.0.1", "[::1]:80", "starling.example.org", "192.168.1.7:8077"):
            assert http.get("/ready", headers={"host": host}).status_code == 200, host


def test_only_pages_that_were_let_in_may_ask(server: Server) -> None:
    with server.client() as http:
        for origin in ("https://evil.example.org", "null", "http://localhost:1"):
            status, detail = problem(http.post("/complete", json=BODY, headers={"origin": origin}))
            assert (status, "--allow-origin" in detail) == (403, True)
        answer = http.post("/complete", json=BODY, headers={"origin": PAGE})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        assert http.post("/complete", json=BODY, headers={"origin": server.url}).status_code == 200
        asks = {"origin": PAGE, "access-control-request-method": "POST"}
        assert http.options("/complete", headers=asks).status_code == 200


def test_every_answer_has_its_headers_and_an_id(server: Server) -> None:
    with server.client() as http:
        own, odd = (http.get("/ready", headers={"x-request-id": name}) for name in ("abc-1", "a b"))
    with server.client(None) as http:
        refused = http.get("/metrics", headers={"x-request-id": "abc-2"})
    assert own.headers["x-request-id"] == "abc-1"
    assert odd.headers["x-request-id"] not in ("a b", "")
    assert refused.headers["x-request-id"] == "abc-2"
    for answer in (own, refused):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
    for _ in range(100):
        if logged(server) == {("abc-1", 200), ("abc-2", 401)}:
            return
        time.sleep(0.05)
    assert logged(server) == {("abc-1", 200), ("abc-2", 401)}


def logged(server: Server) -> set[tuple[str, int]]:
    """Ids of ours and their status; a line is written after its answer has been sent."""
    whole = server.log().rpartition("\n")[0]
    lines = [json.loads(line) for line in whole.splitlines()]
    return {(line["request_id"], line["status"]) for line in lines if line["request_id"].startswith("abc")}


def test_a_refusal_is_readable_for_openais_clients(server: Server) -> None:
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="a-token-of-nobody-at-all")
    with pytest.raises(openai.AuthenticationError, match="The request has no token"):
        client.completions.create(model="starling", prompt="a")


async def test_our_client_brings_its_token(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = CompleteRequest(prefix="import o", max_tokens=1)
    async with Client(server.url) as client:
        with pytest.raises(RequestError, match="The request has no token"):
            await client.complete(request)
        monkeypatch.setenv("STARLING_TOKEN", ALICE)
        assert (await client.complete(request)).base == "tiny"
    monkeypatch.delenv("STARLING_TOKEN")
    async with Client(server.url, tokens(tmp_path)) as client:
        assert [event async for event in client.stream(request)]
        assert (await client.ready()).base == "tiny"


def test_nobody_hears_what_another_typed_under_the_same_session(server: Server) -> None:
    body = {**BODY, "prefix": "import os\nimport ", "session": "work.py", "max_tokens": 8}
    with server.client(ALICE) as alice, server.client(ADMIN) as other:
        alice.post("/complete", json=body)
        assert alice.post("/complete", json=body).json()["usage"]["prompt_tokens"] == 0, "from memory"
        assert other.post("/complete", json=body).json()["usage"]["prompt_tokens"] > 0


def test_one_client_that_asks_too_often_is_told_so(tmp_path: Path) -> None:
    with protected(tmp_path, "--client-rate", "5", "--client-concurrency", "1") as server, server.client() as http:
        answers = [http.get("/v1/adapters") for _ in range(40)]
        assert [answer.status_code for answer in answers[:10]] == [200] * 10
        refused = next(answer for answer in answers if answer.status_code != 200)
        assert refused.headers["retry-after"] == "1"
        assert problem(refused)[0] == 429
        assert "alice sends more than 5 requests per second" in problem(refused)[1]
        with server.client(ADMIN) as other:
            assert other.get("/v1/adapters").status_code == 200
            together = asyncio.run(at_once(server.url, 4))
    assert sorted(together) == [200, 429, 429, 429]


async def at_once(url: str, count: int) -> list[int]:
    body = {**BODY, "max_tokens": 64, "n": 4, "temperature": 1.5, "mode": "block"}
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False, headers=headers) as http:
        return [
            one.status_code for one in await asyncio.gather(*(http.post("/complete", json=body) for _ in range(count)))
        ]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "starling_server", "--base", "tiny", "--port", "0", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )


def test_without_tokens_nobody_else_may_reach_the_server(tmp_path: Path) -> None:
    done = run("--host", "0.0.0.0")
    assert done.returncode == 2
    assert "set STARLING_TOKEN" in done.stderr
    done = run("--host", "0.0.0.0", STARLING_TOKEN="short")
    assert (done.returncode, "at least 16 characters" in done.stderr) == (2, True)
    with serving(tmp_path, "--host", "0.0.0.0", "--token-file", str(tokens(tmp_path))) as server:
        port = server.url.rpartition(":")[2]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            assert http.post("/complete", json=BODY).status_code == 401
        command = Path(f"/proc/{server.process.pid}/cmdline")
        assert not command.is_file() or ALICE.encode() not in command.read_bytes()
        assert ALICE not in server.log()


def test_settings_and_where_they_came_from(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nqueue = 7\nmode = "line"\nallow_host = ["a.example.org"]\n', encoding="utf-8")
    done = run("--config", str(file), "--print-config", "--queue", "9", STARLING_MODE="block", STARLING_TOKEN=ALICE)
    assert done.returncode == 0, done.stderr
    assert "port = 0  # flag" in done.stdout
    assert "queue = 9  # flag" in done.stdout
    assert 'mode = "block"  # STARLING_MODE' in done.stdout
    assert f'allow-host = ["a.example.org"]  # {file}' in done.stdout
    assert "cache-mb = 512  # default" in done.stdout
    assert "# STARLING_TOKEN is set" in done.stdout
    assert ALICE not in done.stdout
    file.write_text(done.stdout, encoding="utf-8")
    again = run("--config", str(file), "--print-config")
    assert f"queue = 9  # {file}" in again.stdout


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prot = 1", "there is no setting 'prot'"),
        ("port = [1]", "port takes one value"),
        ('allow-host = "a"', "allow-host takes a list"),
        ("port =", "is not valid TOML"),
        ('token = "x"', "there is no setting 'token'"),
        ('queue = "many"', "not a valid integer"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text, encoding="utf-8")
    done = run("--config", str(file), "--print-config")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_adapters_come_change_and_go_while_it_runs(server: Server) -> None:
    home, base = server.folder / "data" / "adapters", bases.find("tiny")
    body = {**BODY, "prefix": "def area(width, height):\n    return ", "adapter": "moving", "session": "s"}
    with server.client() as http, server.client(ADMIN) as admin:
        assert problem(http.post("/complete", json=body))[0] == 404
        adapter.write(home / "moving", base, seed=1)
        assert http.post("/complete", json=body).json()["adapter"] == "moving"
        first = state(http)
        assert (first["loaded"], first["broken"]) == (True, None)
        assert first["bytes"] > 0

        adapter.write(home / "next", base, seed=2)
        (home / "moving").rename(home.parent / "old")
        (home / "next").rename(home / "moving")
        second = state(http)
        assert second["version"] != first["version"]
        assert http.post("/complete", json=body).json()["usage"]["prompt_tokens"] > 0, "not from the old one's memory"
        assert state(http)["loaded"] is True
        assert server.metric("starling_adapters_loaded") == 1

        (home / "moving" / "adapter_model.safetensors").write_bytes(b"not weights")
        deadline = time.monotonic() + 30
        while (broken := state(http))["broken"] is None and time.monotonic() < deadline:
            time.sleep(0.1)  # files that were just written may still be on their way
        assert "not a complete safetensors file" in str(broken["broken"])
        assert broken["version"] == second["version"]
        assert http.post("/complete", json={**body, "prefix": "x = "}).status_code == 200
        assert "The former version stays in use." in server.log()
        assert problem(admin.post("/v1/adapters/nobody"))[0] == 404

        assert admin.delete("/v1/adapters/moving").status_code == 204
        assert problem(http.post("/complete", json=body))[0] == 404
        assert server.metric("starling_adapters_loaded") == 0
        assert problem(admin.delete("/v1/adapters/moving"))[0] == 404
        adapter.write(home / "moving", base, seed=3)
        loaded = admin.post("/v1/adapters/moving")
        assert (loaded.status_code, loaded.json()["loaded"]) == (200, True)


def state(http: httpx2.Client) -> dict[str, Any]:
    found = http.get("/v1/adapters").json()["adapters"]
    return next(each for each in found if each["name"] == "moving")


def test_the_dashboard_asks_for_what_is_counted(server: Server) -> None:
    with server.client() as http:
        http.post("/complete", json=BODY)
        text = http.get("/metrics").text
    names = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    dashboard = json.loads((REPOSITORY / "deploy" / "grafana.json").read_text(encoding="utf-8"))
    asked = set[str]()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            asked |= {word for word in words(target["expr"]) if word.startswith(("starling_", "process_"))}
    assert len(asked) > 10
    known = names | {f"{name}{end}" for name in names for end in ("_bucket", "_count", "_sum")}
    assert asked <= known, asked - known


def words(expression: str) -> list[str]:
    return re.findall(r"[a-z_]+", expression)
