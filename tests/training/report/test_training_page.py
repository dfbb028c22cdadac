"""report.html: one page that needs nothing else, and runs nothing of the code that it shows."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support import finished

from starling_training.report import comparison, outputs, training_page
from starling_training.report.outputs import Found
from starling_training.scoring.trials import Answer

VOID = frozenset({"meta", "br", "link", "img", "input", "hr", "base", "source"})
LOADS = frozenset({"src", "srcset", "data", "action", "poster", "background", "ping", "formaction"})
HOSTILE = "</pre><script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)> {{ 7 * 7 }} & \"q\" `"


class Page(HTMLParser):
    """Elements, attributes and texts of a page; its elements must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.attributes, self.texts = list[str](), list[tuple[str, str]](), list[str]()
        self._open = list[str]()
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def rendered(found: Found) -> str:
    return training_page.render(found.manifest, found.inventory, found.scores, found.trials)


@pytest.fixture(scope="module")
def text() -> str:
    return rendered(finished.found())


def loads(text: str) -> list[str]:
    """Everything that a browser would fetch for the page, or run."""
    read = Page(text)
    found = [element for element in read.elements if element in {"script", "link", "iframe", "object", "embed", "img"}]
    for name, value in read.attributes:
        outside = name in {"href", "xlink:href"} and not value.startswith("#")
        if name in LOADS or name.startswith("on") or outside or ("url(" in value and "url(#" not in value):
            found.append(f"{name}={value}")
    style = text.partition("<style>")[2].partition("</style>")[0]
    return found + [word for word in ("@import", "url(", "http") if word in style]


def test_the_page_loads_nothing(text: str) -> None:
    assert loads(text) == []
    assert "http://" not in text
    assert "https://" not in text


def test_what_a_page_could_load_is_noticed() -> None:
    assert loads('<style>@import "x"</style><script src="http://a"></script><a href="http://b">b</a>') != []
    assert loads('<p onclick="a()"></p>') != []


def test_code_is_shown_and_never_run() -> None:
    hostile = finished.trials(4, HOSTILE)
    hostile[1] = replace(hostile[1], path=HOSTILE, base=Answer(HOSTILE[::-1], True, 9.0, 4))
    found = finished.found(hostile)
    inventory = replace(found.inventory, held_out=(HOSTILE,), languages={HOSTILE: 3}, secrets={HOSTILE: [HOSTILE]})
    text = rendered(replace(found, inventory=inventory))
    assert loads(text) == []
    assert any(HOSTILE in shown for shown in Page(text).texts)
    assert "<script" not in text
    assert "{{ 7 * 7 }}" in text


def test_what_a_run_is_made_of_is_on_the_page(text: str) -> None:
    shown = "\n".join(Page(text).texts)
    found = finished.found()
    for expected in (
        *(source.sha256 for source in found.inventory.sources),
        found.manifest.base.fingerprint,
        "Python", "near duplicate", "mit", "AWS Access Key", "src/gateway.py:1", "and 5 more", "learning-rate",
        "25,000", "middle loss", "by paired bootstrap", "torch", "envelope.unseal()", "line (20)", "TypeScript (8)",
    ):  # fmt: skip
        assert expected in shown, expected
    assert text.count("<svg") == 5


def test_sentences_say_how_sure_it_is(text: str) -> None:
    assert 'class="verdict better"' in text
    worse = [replace(trial, base=trial.adapter, adapter=trial.base) for trial in finished.trials()]
    assert 'class="verdict worse"' in rendered(finished.found(worse))
    assert 'class="verdict unsure"' in rendered(finished.found(finished.trials(2)))


def test_a_run_that_was_not_judged_has_its_page() -> None:
    text = rendered(finished.found([]))
    assert text.count("<svg") == 1
    assert "Not evaluated" in text
    assert loads(text) == []


def test_answers_that_begin_with_an_empty_line_keep_it() -> None:
    right = Answer("\n  x", True, 1.0, 2)
    found = finished.found([replace(trial, truth="\n  x", adapter=right) for trial in finished.trials(4)])
    assert "<pre>\n\n  x</pre>" in rendered(found)


def test_examples_are_sorted_by_gain() -> None:
    trials = finished.trials()
    same = [replace(trial, adapter=trial.base) for trial in trials[:3]]
    half = replace(trials[1], adapter=Answer("envelope", True, 1.0, 4))
    gained, lost = comparison.gained([*same, half, *trials], 50), comparison.lost([*same, *trials], 50)
    assert len(gained) == 31
    assert [example.gain for example in gained] == sorted((example.gain for example in gained), reverse=True)
    assert gained[-1].adapter == "envelope"
    assert len(lost) == 10
    assert all(example.gain < 0 for example in lost)


def test_the_papers_are_written_together(tmp_path: Path) -> None:
    outputs.write(tmp_path, finished.found())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "corpus.json", "report.html", "report.md"]
