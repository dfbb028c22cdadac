"""Raw fill-in-the-middle prompts in the spelling of a family that the base does not belong to, taken apart.

Clients such as Zed, Continue and minuet write the prompt themselves, by a template for the model that their settings
name. To another base its special tokens are ordinary text, and what it writes after them is of no use.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from starling_server.models.families.family import Spelling
from starling_server.models.families.table import FAMILIES
from starling_server.prompt.fim import Names

BLANK = "\u2581"
"""SentencePiece's blank, with which CodeLlama's special tokens begin; clients write a blank."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What such a prompt holds of a document."""

    prefix: str
    suffix: str


def taken_apart(prompt: str, own: Names) -> Parts | None:
    """The text around the cursor; None for a prompt in a spelling of the base's `own`, or in none that is known.

    Every special token of a prompt must be there exactly once, in the order of one of the spelling's forms. What stands
    before them (a repository's name, other files) is left out. A prompt may hold two spellings, as where the document
    is about such prompts: the one that begins first is the prompt's.
    """
    ours = [begin for written in _spellings() if _is_own(written, own) and (begin := _begin(prompt, written)) >= 0]
    for written in _spellings():
        if not _is_own(written, own) and 0 <= _begin(prompt, written) < min(ours, default=len(prompt)):
            for form in (written.psm, written.spm):
                if (found := _match(prompt, written, [part for part in form if part not in ("P", "S")])) is not None:
                    return found
    return None


def _spellings() -> Iterator[Spelling]:
    for row in FAMILIES.values():
        yield from row.spellings


def _begin(prompt: str, written: Spelling) -> int:
    """Where the first special token stands of a prompt that holds prefix and suffix; -1 for another prompt."""
    places = [prompt.find(token.removeprefix(BLANK)) for token in (written.prefix, written.suffix)]
    return -1 if -1 in places else min(places)


def _is_own(written: Spelling, own: Names) -> bool:
    return all(own.special_id(name) is not None for name in (written.prefix, written.suffix, written.middle))


def _match(prompt: str, written: Spelling, roles: list[str]) -> Parts | None:
    """The parts of a prompt that has the tokens of these roles in this order."""
    tokens = {role: getattr(written, role) for role in roles}
    names = {role: token.removeprefix(BLANK) for role, token in tokens.items()}
    if any(prompt.count(name) != 1 for name in names.values()):
        return None
    places = [prompt.index(names[role]) for role in roles]
    if places != sorted(places) or (written.like_text and not _begins(prompt[: places[0]], written)):
        return None
    ends = [*places[1:], len(prompt)]
    texts = dict[str, str]()
    for role, at, end in zip(roles, places, ends, strict=True):
        texts[role] = prompt[at + len(names[role]) : end]
    if tokens["prefix"].startswith(BLANK):
        texts["prefix"] = texts["prefix"].removeprefix(" ")
        texts = {role: text if role == roles[-1] else text.removesuffix(" ") for role, text in texts.items()}
    return Parts(texts["prefix"] + texts.get("middle", ""), texts["suffix"])


def _begins(head: str, written: Spelling) -> bool:
    """Whether only the token that begins a prompt stands before it, where ordinary text may hold the others."""
    return head.replace(written.begin or "", "").strip(f" {BLANK}") == ""
