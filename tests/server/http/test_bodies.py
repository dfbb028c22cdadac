"""Bodies that are meant badly: JSON of every odd kind, and two megabytes of it in every field that holds several."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from support.serving import ALICE, Server

from starling_server.errors import InvalidRequest
from starling_server.http.body import MOST_MEMBERS, MOST_VALUES, check_size, parse

JSON = {"content-type": "application/json"}
SIZE = 2_000_000
LAG_SECONDS = 2.0
"""Generous: it was ten seconds, and is below a tenth of one on two idle cores."""
MINIMAL: dict[str, str] = {
    "/complete": '"prefix": "import o", "max_tokens": 1', "/v1/completions": '"prompt": "import o", "max_tokens": 1',
    "/infill": '"prompt": "import o", "n_predict": 1', "/v1/events": '"event": "shown"',
}  # fmt: skip
"""What each address needs."""
ODD = (
    "", " ", "null", "true", "0", "-0", '""', "[]", "{}", "[{}]", "{", "}", "[", "]", '"', "{]", "[}", "{}{}", "{} x",
    ",", ":", '{"a"}', '{"a":}', '{"a":1,}', "{a: 1}", "{'a': 1}", "[1 2]", "[,]", "\ufeff{}", "//", "/**/{}", "NaN",
    "Infinity", "{} \x00", "\x00", "{\x0b}", "undefined", "nul", "tru", "0x10", "01", "+1", "1.", ".5", "1e",
    "1e999999", "-", "\\u0041", '"\\x41"', '"\\ud800"', '"\n"', '"\x1b"', "1" * 5000, "-" + "1" * 5000,
    "0." + "1" * 100_000, "1e-999999", "[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000,
    "[" * 900 + "]" * 900,
)  # fmt: skip
VALUES = (
    "null", "true", "0", "-1", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "9" * 400, "9" * 4300, "9" * 5000,
    "0.1", "1e-400", '""', '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\u202e"', '"\\ufeff"',
    '"a\\r\\nERROR x: y"', '"\\u001b[2J"', "[]", "{}", "[[]]", '[""]', '["\\ud800"]', "[null]", '{"a": 1}',
    "[[[[[[[[]]]]]]]]", "[1]", "[-1]", "[4294967296]", '["a", 1]', "[1, [2]]",
)  # fmt: skip


def fields(target: Server) -> dict[str, dict[str, Any]]:
    """Of each address that takes a body, its members by the document that describes it."""
    with target.client() as http:
        document = http.get("/openapi.json").json()
    found = dict[str, dict[str, Any]]()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if "requestBody" in operation:
                name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                found[path] = document["components"]["schemas"][name]["properties"]
    assert set(found) == set(MINIMAL)
    return found


@pytest.mark.parametrize("path", MINIMAL)
def test_odd_json_is_refused(target: Server, path: str) -> None:
    with target.client() as http:
        for text in ODD:
            content = text.encode("utf-8", "surrogatepass")
            answer = http.post(path, content=content, headers=JSON)
            fine = path == "/infill" and text in {"{}"}
            assert answer.status_code == (200 if fine else 422), (text[:40], answer.text)
        for content in (b"\xff", b"\xed\xa0\x80", "{}".encode("utf-16"), "{}".encode("utf-32"), b'{"a": "\xc3"}'):
            assert http.post(path, content=content, headers=JSON).status_code == 422, content


@pytest.mark.parametrize("path", MINIMAL)
def test_odd_values_fail_no_field(target: Server, path: str) -> None:
    with target.client() as http:
        for name in (*fields(target)[path], "unknown", "\\ud800", "\\u001b" + "a" * 1000):
            for value in VALUES:
                body = f'{{{MINIMAL[path]}, "{name}": {value}, "{name}": {value}}}'
                answer = http.post(path, content=body.encode(), headers=JSON)
                assert answer.status_code in (200, 204, 404, 422), (name, value[:40], answer.text)
                assert len(answer.content) < 4000 or answer.status_code == 200, (name, value[:40])


def hostile(member: dict[str, Any]) -> list[str]:
    """Values of two megabytes for a field, if it takes any of such a kind at all."""
    kinds = str(member)
    if not any(f"'{kind}'" in kinds for kind in ("array", "object")) and ("type" in kinds or "anyOf" in kinds):
        return []
    items = ("0", '""', "{}", "[]", "-1", "0.1", '"a"', '{"":0}', "1" * 300)
    lists = ["[" + ",".join([item] * (SIZE // (len(item) + 1))) + "]" for item in items]
    return [*lists, members(SIZE), "[" + "[0]," * 9000 + "[" + "0," * 180_000 + "0]]", "[" * (SIZE // 2)]


def members(size: int) -> str:
    return "{" + ",".join(f'"{n:x}":0' for n in range(size // 10)) + "}"


@contextmanager
def lag(target: Server) -> Generator[list[float]]:
    """How long `/health` took while the body ran, again and again."""
    waits, ended = [0.0], threading.Event()

    def ask() -> None:
        with target.client() as http:
            while not ended.is_set():
                started = time.monotonic()
                http.get("/health")
                waits.append(time.monotonic() - started)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        ended.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("path", MINIMAL)
def test_no_large_body_holds_the_others_up(target: Server, path: str) -> None:
    """Every field that takes a list, an object or anything at all, and the body itself."""
    found = fields(target)[path]
    large = {name: hostile(member) for name, member in found.items()}
    several = {name for name, values in large.items() if values}
    assert {"stop", "input_extra", "response_fields", "logit_bias"} & set(found) <= several
    bodies = [f'{{{MINIMAL[path]}, "{name}": {value}}}' for name, values in large.items() for value in values]
    bodies += [f"{{{MINIMAL[path]}, {members(SIZE)[1:]}", *hostile({})]
    with target.client() as http:
        for body in bodies:
            with lag(target) as waits:
                answer = http.post(path, content=body.encode(), headers=JSON)
            assert answer.status_code in (200, 204, 413, 422), body[:100]
            assert len(answer.content) < 2000, body[:100]
            assert max(waits) < LAG_SECONDS, (body[:100], max(waits))


def test_what_is_counted_is_outside_of_strings() -> None:
    text = "[{:," * 300_000
    escaped = '\\"[{:,' * 200_000 + "\\\\"
    for prefix in (text, escaped):
        body = json.dumps({"prefix": prefix}).encode()
        assert parse(body) == {"prefix": prefix}
    parse(b"[" + b"0," * (MOST_VALUES - 1) + b"0]")
    for body in (
        "[" + "0," * (MOST_VALUES + 2) + "0]",
        members(12 * MOST_MEMBERS),
        '["\\\\",' + '"",' * 300_000 + '""]',
    ):
        with pytest.raises(InvalidRequest, match="more than"):
            check_size(body.encode())


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", None]
)
def test_a_body_of_another_type_is_told_so(target: Server, kind: str | None) -> None:
    body = ("{" + MINIMAL["/complete"] + "}").encode()
    headers = {"content-type": kind} if kind else {}
    with target.client() as http:
        answer = http.post("/complete", content=body, headers=headers)
        assert answer.status_code == 415
        assert "Content-Type: application/json" in answer.json()["detail"]
        assert (kind or "no content type") in answer.json()["detail"]
        for fine in ("application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"):
            assert http.post("/complete", content=body, headers={"content-type": fine}).status_code == 200
        packed = http.post("/complete", content=body, headers={**JSON, "content-encoding": "gzip"})
        assert (packed.status_code, "Content-Encoding" in packed.json()["detail"]) == (415, True)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"prompt": []}, "prompt: "),
        ({"prompt": [[]]}, "prompt."),
        ({"prompt": ["a"] * 65}, "65 items were sent, 64 at most"),
        ({"prompt": "a", "stop": [""]}, "stop."),
        ({"prompt": "a", "stop": ["a"] * 65}, "65 items were sent, 64 at most"),
        ({"prompt": "a", "stop": {}}, "stop: "),
        ({"prompt": ["a", "b"], "suffix": ""}, "one prompt of text"),
        ({"prompt": [1, 2], "suffix": ""}, "one prompt of text"),
    ],
)
def test_what_is_wrong_is_named(target: Server, body: dict[str, Any], sentence: str) -> None:
    with target.client() as http:
        answer = http.post("/v1/completions", json=body)
        assert answer.status_code == 422
        assert sentence in answer.json()["detail"]


def test_a_list_of_one_prompt_is_one_prompt(target: Server) -> None:
    with target.client() as http:
        asked = {"suffix": "\n", "max_tokens": 4}
        one, listed = (
            http.post("/v1/completions", json={**asked, "prompt": each}).json() for each in ("x = ", ["x = "])
        )
    assert listed["choices"] == one["choices"]


def test_the_log_has_no_failure(target: Server) -> None:
    assert "Traceback" not in target.log()
    assert ALICE not in target.log()
    assert target.metric("starling_http_requests_total", status="500") == 0
