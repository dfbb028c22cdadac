"""Comments for tools are not learnt; all others are."""

from starling_training.base import collect


def test_comments_for_tools_go_and_the_code_before_them_stays() -> None:
    text = (
        "import os  # noqa: F401\nx = f()  # type: ignore[call-arg]  # a reason\nif x:  # pragma: no cover\n    pass\n"
    )
    assert collect.without_pragmas(text) == "import os\nx = f()\nif x:\n    pass\n"


def test_other_comments_stay() -> None:
    text = "# noqa on its own\n    # type: ignore\nx = 1  # the number of things\ns = '#noqa'\n"
    assert collect.without_pragmas(text) == text
