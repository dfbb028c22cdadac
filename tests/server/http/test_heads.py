"""Heads of requests that are meant badly, as bytes: lengths that disagree, targets, hosts, headers, names."""

import time
from itertools import product
from urllib.parse import quote

import pytest
from support import raw
from support.serving import ADMIN, ALICE, Server

BODY = b'{"prefix": "import o", "max_tokens": 1}'
TOKEN = f"Authorization: Bearer {ALICE}\r\n".encode()
LAST = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""What must never be answered where the request before it leaves open where it ends."""


def post(*headers: bytes, body: bytes = BODY, version: bytes = b"1.1", target: bytes = b"/complete") -> bytes:
    head = b"POST %s HTTP/%s\r\nHost: localhost\r\nContent-Type: application/json\r\n%s" % (target, version, TOKEN)
    return head + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def chunked(body: bytes = BODY) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


LENGTH = b"Content-Length: %d" % len(BODY)
CODED = b"Transfer-Encoding: chunked"
CONFUSED: dict[str, bytes] = {
    "both": post(LENGTH, CODED, body=chunked()),
    "both, length last": post(CODED, LENGTH, body=chunked()),
    "both, length 0": post(CODED, b"Content-Length: 0", body=chunked()),
    "both, length short": post(CODED, b"Content-Length: 4", body=chunked()),
    "both, in capitals": post(b"TRANSFER-ENCODING: CHUNKED", LENGTH, body=chunked()),
    "both, in HTTP/1.0": post(CODED, LENGTH, body=chunked(), version=b"1.0"),
    "coded in HTTP/1.0": post(CODED, body=chunked(), version=b"1.0"),
    "two lengths": post(LENGTH, b"Content-Length: 5"),
    "two lengths in one": post(b"Content-Length: 39, 5"),
    "length +39": post(b"Content-Length: +39"),
    "length -1": post(b"Content-Length: -1"),
    "length 0x27": post(b"Content-Length: 0x27"),
    "length 39.0": post(b"Content-Length: 39.0"),
    "length 3 9": post(b"Content-Length: 3 9"),
    "length empty": post(b"Content-Length:"),
    "length of a hundred digits": post(b"Content-Length: " + b"9" * 100),
    "length ٣": post("Content-Length: ٣".encode()),
    "coding identity": post(b"Transfer-Encoding: identity"),
    "coding gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=chunked()),
    "coding chunked, gzip": post(b"Transfer-Encoding: chunked, gzip", body=chunked()),
    "coding chunked twice": post(CODED, CODED, body=chunked()),
    "coding xchunked": post(b"Transfer-Encoding: xchunked", body=chunked()),
    "coding quoted": post(b'Transfer-Encoding: "chunked"', body=chunked()),
    "coding with a control": post(b"Transfer-Encoding: \x0bchunked", body=chunked()),
    "coding with a blank before the colon": post(b"Transfer-Encoding : chunked", body=chunked()),
    "coding on a folded line": post(b"Transfer-Encoding:\r\n chunked", LENGTH, body=chunked()),
    "coding behind a bare CR": post(b"X: a\rTransfer-Encoding: chunked", LENGTH + b"0"),
    "coding behind NUL": post(b"X: a\x00Transfer-Encoding: chunked"),
    "chunk of -1": post(CODED, body=b"-1\r\n" + BODY),
    "chunk of +5": post(CODED, body=b"+5\r\nabcde\r\n0\r\n\r\n"),
    "chunk of 0x5": post(CODED, body=b"0x5\r\nabcde\r\n0\r\n\r\n"),
    "chunk of 5_0": post(CODED, body=b"5_0\r\nabcde\r\n0\r\n\r\n"),
    "chunk of too many digits": post(CODED, body=b"f" * 30 + b"\r\n" + BODY),
    "chunk with a blank": post(CODED, body=b" 5\r\nabcde\r\n0\r\n\r\n"),
    "chunk longer than said": post(CODED, body=b"5\r\nabcdefgh\r\n0\r\n\r\n"),
    "chunk without an end": post(CODED, body=b"5\r\nabcde0\r\n\r\n"),
    "chunk that is no number": post(CODED, body=b"zz\r\nabc\r\n0\r\n\r\n"),
    "trailer that is a length": post(CODED, body=b"2\r\n{}\r\n0\r\nContent Length: 5\r\n\r\n"),
    "two hosts": post(b"Host: localhost", LENGTH),
    "two hosts, one empty": post(b"Host:", LENGTH),
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "header without a colon": post(b"Whatever", LENGTH),
    "header without a name": post(b": a", LENGTH),
    "header of a blank name": post(b"a b: c", LENGTH),
    "first header folded": b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "no version": b"GET /health\r\n\r\n",
    "version 2.0": b"GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "version 1.1x": b"GET /health HTTP/1.1x\r\nHost: localhost\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a blank in the target": b"GET /health /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tab in the request line": b"GET\t/health\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method of controls": b"G\x01T /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "NUL in the target": b"GET /he\x00alth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes in the target": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
    "a target that is a star": b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target of an authority": b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target without a slash": b"GET health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target of another scheme": b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "101 headers": post(*[b"X: a"] * 101, LENGTH),
    "ten thousand headers": post(*[b"X:"] * 10_000, LENGTH),
    "a header of 100 KiB": post(b"X: " + b"a" * 100_000, LENGTH),
    "headers of 100 KiB together": post(*[b"X: " + b"a" * 1100] * 90, LENGTH),
    "a target of 100 KiB": b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * 100_000),
    "a query of 100 KiB": b"GET /health?%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a=b&" * 25_000),
}


@pytest.mark.parametrize("name", CONFUSED)
def test_a_head_that_leaves_something_open_ends_the_connection(target: Server, name: str) -> None:
    heard = raw.exchange(target.url, CONFUSED[name] + LAST)
    assert heard.closed
    assert set(heard.statuses) <= {400, 408, 413, 415, 422, 431, 501, 505}, heard
    assert b"There is nothing at this address" not in b"".join(heard.bodies)
    assert all(status < 500 for status in heard.statuses)


SOUND: dict[str, bytes] = {
    "length": post(LENGTH),
    "coded": post(CODED, body=chunked()),
    "coded in two chunks": post(CODED, body=b"a\r\n%s\r\n1d\r\n%s\r\n0\r\n\r\n" % (BODY[:10], BODY[10:])),
    "a chunk with an extension and a trailer": post(CODED, body=b"27;a=b\r\n%s\r\n0\r\nX: y\r\n\r\n" % BODY),
    "length twice the same": post(LENGTH, LENGTH),
    "continue": post(LENGTH, b"Expect: 100-continue"),
    "an absolute target": post(LENGTH, target=b"http://localhost/complete"),
    "an absolute target in capitals": post(LENGTH, target=b"HTTP://LOCALHOST:8077/complete"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_head_is_served_and_so_is_the_request_behind_it(target: Server, name: str) -> None:
    heard = raw.exchange(target.url, SOUND[name] + LAST, 2)
    assert [status for status in heard.statuses if status >= 200] == [200, 401], heard
    assert heard.closed


def get(host: bytes, target: bytes = b"/ready") -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (target, host)


FOREIGN = (
    b"[::1].evil.example", b"[::1]evil", b"[::1]:80:80", b"localhost.evil.example", b"x@evil.example", b"x@localhost",
    b"localhost@evil.example", b"127.0.0.1:80:80", b"127.0.0.1:evil", b"localhost:", b"localhost:123456", b"", b":80",
    b"[]", b"[::1", b"::1", b"[evil]", b"[127.0.0.1]x", b"localhost, evil.example", b"localhost evil.example",
    b"localhost/evil", b"evil.example#localhost", b"evil.example?localhost", b"127.0.0.1.evil.example", b"0x7f.1",
    b"127.1", b"2130706433", b"localhost%00", b"localhost\\evil", b"loc\xc4\xb1lhost", b"localhost\x00",
)  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
def test_no_other_host_is_answered(target: Server, host: bytes) -> None:
    absolute = [] if set(b"/?#") & set(host) else [get(b"localhost", b"http://%s/ready" % host)]
    for sent in (get(host), *absolute):
        heard = raw.exchange(target.url, sent)
        assert heard.statuses
        assert set(heard.statuses) <= {400, 421}, heard


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:80", b"127.0.0.1:65535", b"[::1]", b"[::1]:8077", b"[fe80::1%eth0]:1"]
)
def test_its_own_hosts_are(target: Server, host: bytes) -> None:
    assert raw.exchange(target.url, get(host)).statuses == [200]
    assert raw.exchange(target.url, get(b"localhost", b"http://%s/ready?a=b" % host)).statuses == [200]
    assert raw.exchange(target.url, get(b"localhost", b"http://%s" % host)).statuses == [200], "the page"


def test_a_refused_head_says_why(target: Server) -> None:
    both = raw.exchange(target.url, CONFUSED["both"])
    assert both.statuses == [400]
    assert b"send one of them" in both.bodies[0]
    assert raw.exchange(target.url, CONFUSED["headers of 100 KiB together"]).statuses in ([431], [400])
    packed = raw.exchange(target.url, post(b"Content-Encoding: gzip", LENGTH))
    assert packed.statuses == [415]
    assert b"without compression" in packed.bodies[0]


NAMES = (
    "", "\0", "a\0b", "a" * 255, "a" * 256, "a" * 4096, "ä" * 127, "ä" * 128, "ä" * 1000, ".", "..", "../x",
    "../../etc/passwd", "a/b", "/etc/passwd", "a\\b", "C:\\x", "con", "~", "~root", "-", "--help", "*", "?", "a?b",
    "#", "%", "%2e%2e%2f", "\n", "\r\n", "a\r\nX: y", "\x1b[2J", "\x7f", "\x80", "\u202e", "\u200b", "\ufeff",
    "\U0010ffff", "😀" * 64, " ", "  a  ", "base", "Base", "tiny", ".hidden", "a.b", "'", '"', "`id`", "$(id)", "${x}",
    "{x}", "{}", "<script>", "a;b", "a&b", "a=b", "null",
)  # fmt: skip
PLACES = (
    ("GET", "/v1/models/"), ("POST", "/v1/adapters/"), ("DELETE", "/v1/adapters/"), ("GET", "/page/"), ("GET", "/"),
    ("PUT", "/v1/adapters/"), ("HEAD", "/v1/models/"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "place"), PLACES)
def test_no_name_fails_the_server(target: Server, method: str, place: str) -> None:
    """A name that can be none of a folder's is one that is not there."""
    found = dict[str, int]()
    with target.client(ADMIN) as http:
        for name, safe in product(NAMES, ("", "/")):
            answer = http.request(method, f"{place}{quote(name, safe=safe)}")
            found[f"{name!r} {safe}"] = answer.status_code
    assert {name: status for name, status in found.items() if status not in (200, 307, 404, 405, 422)} == {}
    assert len(found) == 2 * len(NAMES)


def test_names_in_bodies_are_names_that_are_not_there(target: Server) -> None:
    fields = (("/complete", "adapter", {"prefix": "x"}), ("/v1/completions", "model", {"prompt": "x"}),
              ("/infill", "model", {}), ("/v1/events", "adapter", {"event": "shown"}))  # fmt: skip
    known = {"", "base", "tiny"}
    with target.client() as http:
        for name, (path, field, body) in product((name for name in NAMES if name not in known), fields):
            answer = http.post(
                path, json={**body, field: name, "max_tokens": 0} if path == "/complete" else {**body, field: name}
            )
            assert answer.status_code in (404, 422), (name, path)


def test_what_is_there_and_what_it_takes(target: Server) -> None:
    """405 with what is allowed where there is something, 404 where there is nothing."""
    with target.client(ADMIN) as http:
        for path, methods in http.get("/openapi.json").json()["paths"].items():
            address = path.replace("{name}", "x")
            taken = {method.upper() for method in methods}
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - taken:
                answer = http.request(method, address)
                other = {"POST", "DELETE", "GET"} & taken
                assert (answer.status_code, bool(other)) == (405, True), (method, address)
                assert set(answer.headers["allow"].split(", ")) & taken
            assert http.head(address).status_code == (http.get(address).status_code), address
        assert http.get("/not").status_code == http.get("/v1/not").status_code == 404
        health = http.head("/health")
        assert (health.status_code, health.content) == (200, b"")
        assert int(health.headers["content-length"]) > 0


def test_a_body_in_crumbs_is_refused_and_holds_nobody_up(target: Server) -> None:
    crumbs = b"1\r\na\r\n" * 60_000
    started = time.monotonic()
    heard = raw.exchange(target.url, post(CODED, body=crumbs))
    assert time.monotonic() - started < 10
    assert heard.closed
    assert set(heard.statuses) <= {400}


def test_none_of_it_is_a_failure_in_the_log(target: Server) -> None:
    for name in ("chunk of -1", "chunk that is no number", "chunk without an end"):
        raw.exchange(target.url, CONFUSED[name])
    assert "Traceback" not in target.log()
    assert target.metric("starling_http_requests_total", status="500") == 0
