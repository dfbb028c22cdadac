"""Every message that the server handles, in every wrong form, over real streams: one reply to each request, no popup,
and no copy of a document that is another than the editor's without the server's saying so."""

import copy
import json
import os
import subprocess
from collections import Counter
from collections.abc import Generator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from support.lsp_forms import (
    CELL,
    CHANGES,
    INITIALIZE,
    LIFECYCLE,
    NOTIFICATIONS,
    NOWHERE,
    OPENED,
    POPUPS,
    REQUESTS,
    SYNC,
    TEXT,
    URI,
    WRONG,
    Form,
    digest,
    edited,
    held,
    open_all,
    replaced,
    wrong_forms,
)
from support.wire import Json, Wire, framed, wire

from starling_lsp.handlers import create_server
from starling_lsp.wire import forms

RESULTS = cycle([{"result": wrong} for wrong in WRONG] + [{"error": wrong} for wrong in WRONG[1:]] + [{}])


@pytest.fixture(scope="module")
def talking(served: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Wire]:
    """One server for all forms; its own requests are answered in wrong forms as well."""
    log = tmp_path_factory.mktemp("forms") / "log"
    with wire("--server", served, answer=lambda _: next(RESULTS), errors=log) as talking:
        talking.initialize(**INITIALIZE | {"processId": os.getpid()})
        talking.until(lambda: "ready" in talking.statuses(), "the model")
        open_all(talking)
        yield talking
        popups = [each for each in talking.heard if each.get("method") in POPUPS]
        assert not popups
        assert "Traceback" not in log.read_text()
        tables = [
            form for method, params in (REQUESTS | SYNC | NOTIFICATIONS).items() for form in wrong_forms(method, params)
        ]
        wrong = len(tables) + len(ENVELOPES) + len(BODIES) + len(HEADERS)
        said = f"{wrong} forms in {talking.frames} frames, {sum(talking.counts().values())} replies"
        print(f"\n{said}, {len(popups)} popups, {len(talking.statuses())} statuses")  # noqa: T201 - with pytest -s


def test_every_message_is_in_the_table() -> None:
    server = create_server({})
    handled = {*server.protocol.fm.features, *server.protocol.fm.builtin_features, types.CANCEL_REQUEST}
    listed = {*REQUESTS, *SYNC, *NOTIFICATIONS, *LIFECYCLE}
    assert handled | {types.TEXT_DOCUMENT_COMPLETION} == listed


@pytest.mark.parametrize("method", REQUESTS)
def test_requests(talking: Wire, method: str) -> None:
    """One reply each: a result, or an error that says what is wrong without a trace."""
    open_all(talking)
    ids = list[str]()
    for number, form in enumerate(wrong_forms(method, REQUESTS[method])):
        ids.append(f"{method} {number}")
        talking.send(framed({**form.message(), "id": ids[-1]}))
    for id in ids:
        reply = talking.reply(id)
        assert "data" not in reply.get("error", {}), reply
        assert reply.get("error", {}).get("code") in (None, -32602, -32800), reply
    talking.call(forms.HEALTH)
    assert {id: talking.counts()[id] for id in ids} == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("method", SYNC)
def test_documents(talking: Wire, method: str) -> None:
    """After each form the server holds the editor's text or says that it does not, and the next whole text heals it."""
    is_cell = method.startswith("notebook")
    uri = CELL if is_cell else URI
    asked = list[tuple[Form, set[str | None], int, int]]()
    for form in wrong_forms(method, SYNC[method]):
        open_all(talking)
        talking.send(framed(form.message()))
        after = talking.ask(forms.CHECKSUM, {"uri": uri})
        if method not in (types.TEXT_DOCUMENT_DID_CHANGE, types.NOTEBOOK_DOCUMENT_DID_CHANGE):
            open_all(talking)
        whole = {"textDocument": {"uri": uri}, "contentChanges": [{"text": "healed"}]}
        talking.notify(types.TEXT_DOCUMENT_DID_CHANGE, whole)
        asked.append((form, held(form), after, talking.ask(forms.CHECKSUM, {"uri": uri})))
    stale = list[Any]()
    for form, allowed, after, healed in asked:
        if talking.reply(after)["result"] not in {digest(text) for text in allowed}:
            stale.append((form.path, form.sent, talking.reply(after), allowed))
        if talking.reply(healed)["result"] != digest("healed"):
            stale.append((form.path, form.sent, "not healed"))
    print(f"\n{method}: {len(asked)} forms, {len(stale)} stale documents")  # noqa: T201 - with pytest -s
    assert not stale, stale[:5]


def test_notifications(talking: Wire) -> None:
    """None is answered, none ends the server, and none changes a document that it is not about."""
    open_all(talking)
    before = talking.call(forms.CHECKSUM, {"uri": URI})
    answered = talking.counts()
    for method, params in NOTIFICATIONS.items():
        for form in wrong_forms(method, params):
            talking.send(framed(form.message()))
    assert talking.call(forms.HEALTH)["base"] == "tiny"
    last = talking.asked
    assert talking.counts() - answered == Counter({last: 1})
    assert talking.call(forms.CHECKSUM, {"uri": URI}) == before


ENVELOPES: list[tuple[Any, list[int | str | None]]] = [
    *((wrong, [None]) for wrong in (None, True, 5, "text", {}, [])),
    ({"jsonrpc": "2.0"}, [None]),
    ({"jsonrpc": "2.0", "id": "e1"}, ["e1"]),
    ({"id": "e2", "method": forms.HEALTH}, ["e2"]),
    ({"jsonrpc": "1.0", "id": "e3", "method": forms.HEALTH}, ["e3"]),
    ({"jsonrpc": "2.0", "id": "e4", "method": forms.HEALTH}, ["e4"]),
    ({"jsonrpc": "2.0", "id": "e5", "method": "no/such"}, ["e5"]),
    ({"jsonrpc": "2.0", "id": "e6", "method": "$/no"}, ["e6"]),
    ({"jsonrpc": "2.0", "id": "e7", "method": "textDocument/hover", "params": 5}, ["e7"]),
    ({"jsonrpc": "2.0", "id": "e8", "method": types.SET_TRACE, "params": {"value": "off"}}, ["e8"]),
    ({"jsonrpc": "2.0", "id": "e9", "method": types.INITIALIZE, "params": INITIALIZE}, ["e9"]),
    ({"jsonrpc": "2.0", "id": "e10", "method": "window/showMessage", "params": {}}, ["e10"]),
    *(({"jsonrpc": "2.0", "id": f"m{n}", "method": wrong}, [f"m{n}"]) for n, wrong in enumerate([None, 5, {}, []])),
    *(({"jsonrpc": "2.0", "id": id, "method": forms.HEALTH}, [None]) for id in (None, True, 1.5, [], {})),
    *(({"jsonrpc": "2.0", "id": id, "method": forms.HEALTH}, [id]) for id in (-1, 2**31, 2**63, "", "é😀")),
    ({"jsonrpc": "2.0", "id": -7.0, "method": forms.HEALTH}, [-7]),
    ({"jsonrpc": "2.0", "method": "no/such", "params": {}}, []),
    ({"jsonrpc": "2.0", "method": "$/no"}, []),
    ({"jsonrpc": "2.0", "method": forms.HEALTH}, []),
    ({"jsonrpc": "2.0", "id": None, "method": types.SET_TRACE, "params": {"value": "off"}}, []),
    ({"jsonrpc": "2.0", "id": "none of yours", "result": None}, []),
    ({"jsonrpc": "2.0", "id": [], "error": {}}, []),
    ([{"jsonrpc": "2.0", "id": f"b{n}", "method": forms.HEALTH} for n in range(3)] + [5], ["b0", "b1", "b2", None]),
    ([[]], [None]),
]
HEALTHY = json.dumps({"jsonrpc": "2.0", "id": "raw", "method": forms.HEALTH}).encode()
BODIES = [
    *(b"", b" ", b"{", b"nul", b"{]", b"\xff\xfe", HEALTHY[:-1], HEALTHY + b"}", HEALTHY.replace(b"raw", b"\xe9")),
    *(b"[" * 100_000, b"9" * 5_000, b'{"a":' * 50_000, HEALTHY.decode().encode("utf-16-be")[1:]),
]
HEADERS = [
    *(
        "content-length: {}\r\n\r\n",
        "CONTENT-LENGTH:{}\r\n\r\n",
        "Content-Length: {}\n\n",
        "\r\nContent-Length:  {} \r\n\r\n",
    ),
    "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\ncontent-length: {}\r\n\r\n",
    "Content-Length: 3\r\nContent-Length: {}\r\nX-Other: 1\r\n\r\n",
]


def test_envelopes_bodies_and_headers(talking: Wire) -> None:
    before, expected = talking.counts(), Counter[int | str | None]()
    for content, ids in ENVELOPES:
        talking.send(framed(content))
        expected.update(ids)
    for body in BODIES:
        talking.send(framed(body))
        expected.update([None])
    for number, header in enumerate(HEADERS):
        talking.send(framed({"jsonrpc": "2.0", "id": f"h{number}", "method": forms.HEALTH}, header))
        expected.update([f"h{number}"])
    deep: Any = {}
    for _ in range(400):
        deep = {"a": [deep]}
    talking.send(framed({"jsonrpc": "2.0", "id": "deep", "method": forms.HEALTH, "params": deep}))
    expected.update(["deep"])
    last = talking.ask(forms.HEALTH)
    talking.reply(last)
    assert talking.counts() - before == expected + Counter([last])
    codes = {id: talking.replies[id][0].get("error", {}).get("code") for id in ("e2", "e3", "e5", "e9", "e4")}
    assert codes == {"e2": -32600, "e3": -32600, "e5": -32601, "e9": -32600, "e4": None}


def test_edits_that_cannot_be_read(talking: Wire) -> None:
    """A body that is no JSON may have been an edit, and so may bytes between two frames."""
    edit = json.dumps(
        {"jsonrpc": "2.0", "method": types.TEXT_DOCUMENT_DID_CHANGE, "params": SYNC[types.TEXT_DOCUMENT_DID_CHANGE]}
    )
    body = edit.encode()
    trace = framed({"jsonrpc": "2.0", "method": types.SET_TRACE, "params": {"value": "off"}})
    wrong = (len(body) - 9, body.index(b"Change"), 30, len(body) + 3, len(body) + 9)
    lengths = [framed(body, f"Content-Length: {length}\r\n\r\n") + trace * 2 for length in wrong]
    bare = {**json.loads(edit)}
    del bare["jsonrpc"]
    slashes = framed(body.replace(b"/", b"\\/")[:-1])
    for sent in [framed(body[:-1]), slashes, framed(body.replace(b"sum", b"\xe9")), *lengths, framed([[], bare])]:
        open_all(talking)
        talking.send(sent)
        assert talking.call(forms.CHECKSUM, {"uri": URI}) is None, sent
    open_all(talking)
    talking.send(framed([json.loads(edit)]))
    assert talking.call(forms.CHECKSUM, {"uri": URI}) == digest(edited(TEXT, CHANGES))


PATTERN = "".join(f"item_{n} = make_item({n})\n" for n in range(12)) + "item_12 = make"
"""The smallest model goes on with it."""
LONG = "file:///" + "long/" * 420 + "a.py"


@pytest.mark.parametrize("uri", [LONG, "file://[/a.py", "file:///a%00b.py", "untitled:\ud800", ""], ids=range(5))
def test_documents_at_any_uri(talking: Wire, uri: str) -> None:
    """With half a character in the text, and a column past every number."""
    item = {**OPENED, "uri": uri, "text": "# \ud83d\n" + PATTERN}
    talking.notify(types.TEXT_DOCUMENT_DID_OPEN, {"textDocument": item})
    position = {"line": 13, "character": 9223372036854776000}
    params = {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 2}}
    [suggested] = talking.call(types.TEXT_DOCUMENT_INLINE_COMPLETION, params)["items"]
    assert suggested["range"]["start"] == {"line": 13, "character": 14}


def test_a_lost_document_gets_no_suggestions(talking: Wire) -> None:
    item = {**OPENED, "uri": URI, "text": PATTERN}
    position = {"line": 12, "character": 14}
    params = {"textDocument": {"uri": URI}, "position": position, "context": {"triggerKind": 2}}
    talking.notify(types.TEXT_DOCUMENT_DID_OPEN, {"textDocument": item})
    talking.notify(types.TEXT_DOCUMENT_DID_CHANGE, {"textDocument": {"uri": URI}, "contentChanges": [{"text": None}]})
    assert talking.call(types.TEXT_DOCUMENT_INLINE_COMPLETION, params) == {"items": []}
    talking.until(lambda: talking.statuses()[-1] == "inactive", "the reason")
    said = [each["params"]["message"] for each in talking.heard if each.get("method") == "starling/status"]
    assert "open it again" in said[-1]
    talking.notify(types.TEXT_DOCUMENT_DID_OPEN, {"textDocument": item})
    assert talking.call(types.TEXT_DOCUMENT_INLINE_COMPLETION, params)["items"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"context": ...}, "required field missing at params.context"),
        ({"context": {"triggerKind": 0}}, "at params.context.triggerKind"),
        ({"context": "text"}, "at params.context"),
        ({"position": {"line": 0, "character": -1}}, "at params.position"),
        ({"position": {"line": "0", "character": 1}}, "at params.position.line"),
        ({"textDocument": {}}, "required field missing at params.textDocument.uri"),
    ],
)
def test_a_refusal_names_the_field(talking: Wire, change: Json, field: str) -> None:
    params = {**REQUESTS[types.TEXT_DOCUMENT_INLINE_COMPLETION], **change}
    params = {name: value for name, value in params.items() if value is not ...}
    error = talking.reply(talking.ask(types.TEXT_DOCUMENT_INLINE_COMPLETION, params))["error"]
    assert error["code"] == -32602
    assert error["message"].endswith(field)


def test_after_shutdown_only_exit_counts(talking: Wire) -> None:
    assert talking.call(types.SHUTDOWN, {}) is None
    for method in (*REQUESTS, types.SHUTDOWN, types.INITIALIZE, "no/such"):
        assert talking.reply(talking.ask(method, {}))["error"]["code"] == -32600, method
    for method, params in (NOTIFICATIONS | SYNC).items():
        talking.notify(method, params)
    talking.notify(types.EXIT, {})
    assert talking.process.wait(60) == 0


def test_before_initialize_nothing_counts() -> None:
    """Refused attempts to initialize count as none; one whose every optional field is wrong succeeds."""
    with wire(*NOWHERE) as talking:
        for method, params in (REQUESTS | SYNC | NOTIFICATIONS | {types.SHUTDOWN: None, "no/such": {}}).items():
            if method in REQUESTS or method in (types.SHUTDOWN, "no/such"):
                assert talking.reply(talking.ask(method, params))["error"]["code"] == -32002, method
            else:
                talking.notify(method, params)
        for wrong in (..., *(each for each in WRONG if not isinstance(each, dict))):
            params = replaced(INITIALIZE, ("capabilities",), wrong)
            assert talking.reply(talking.ask(types.INITIALIZE, params))["error"]["code"] == -32602, wrong
        wrongs = cycle(WRONG)
        given = {name: next(wrongs) for name in INITIALIZE if name not in ("capabilities", "processId")}
        parts = {name: next(wrongs) for name in INITIALIZE["capabilities"]}
        result = talking.call(types.INITIALIZE, {**given, "processId": "1", "capabilities": parts})
        assert result["capabilities"]["inlineCompletionProvider"] is not None
        talking.notify(types.EXIT)
        assert talking.process.wait(60) == 1, "it was not shut down"
        assert sum(talking.counts().values()) == talking.asked


def test_a_wrong_option_is_no_reason_to_refuse_an_editor() -> None:
    reader = forms.converter()
    for form in wrong_forms(types.INITIALIZE, INITIALIZE):
        if form.path[1:]:
            params = forms.mended(form.method, copy.deepcopy(form.sent["params"]), reader)
            assert reader.structure(params, types.InitializeParams).process_id is None, form


def test_the_end_of_the_editors_process_ends_the_server(tmp_path: Path) -> None:
    """Its input stays open: another process may hold it."""
    with subprocess.Popen(["sleep", "600"]) as editor, wire(*NOWHERE) as talking:
        talking.initialize(processId=editor.pid)
        talking.call(forms.HEALTH)
        editor.kill()
        assert talking.process.wait(60) == 1
        with wire(*NOWHERE) as late:
            editor.wait()
            late.ask(types.INITIALIZE, {"processId": editor.pid, "capabilities": {}})
            assert late.process.wait(60) == 1, "it was gone before"
