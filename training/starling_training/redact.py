"""Secrets in code to typed placeholders, before anything is kept or learnt from.

The detectors are detect-secrets' own. Its scanner asks every plugin about every line through layers of injection, at
0.1 MB a second; here the providers' patterns run over the whole text, and only lines that could hold a password or a
random string are looked at closely.
"""

import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from detect_secrets.filters import heuristic
from detect_secrets.plugins import keyword
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString, HexHighEntropyString
from detect_secrets.plugins.ip_public import IPPublicDetector
from detect_secrets.plugins.keyword import KeywordDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector

LEAST = 8
"""Characters of a value that is worth hiding."""
LEAST_RANDOM = 16
"""Characters of a string that may be called random: shorter ones are colours, hashes of commits and the like."""
GENERIC = frozenset(str(kind.secret_type) for kind in (KeywordDetector, HexHighEntropyString, Base64HighEntropyString))
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)(.*?)(-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_KEYWORDS = "|".join((*keyword.DENYLIST, "token", "credential"))
_KEYWORD_LINE = re.compile(rf"^.*(?:{_KEYWORDS}).*['\"`].*$", re.IGNORECASE | re.MULTILINE)
_RANDOM = re.compile(rf"(?P<quote>['\"])(?P<value>[\w+/=\-]{{{LEAST_RANDOM},}})(?P=quote)", re.ASCII)
_TOKEN_VALUE = re.compile(r"(?:token|credential)\w*['\"\]]{0,2}\s*[:=]{1,2}\s*['\"]([^'\"\s]{8,})['\"]", re.IGNORECASE)
_WORD = re.compile(r"[\w\-]+")
_SPEAKING = re.compile(r"[A-Za-z]+(?:[_\-.: /][A-Za-z]+)*[_\-.:]?")
"""A value of words alone names something; it is no password."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is. Its value is nowhere in here."""

    start: int
    end: int
    """Of the value in the text that was looked at."""
    kind: str
    line: int
    """From 1 on."""


def redact(text: str) -> tuple[str, list[Secret]]:
    """`text` with a placeholder for every secret, and where they were."""
    secrets = find(text)
    pieces, at = list[str](), 0
    for secret in secrets:
        pieces += [text[at : secret.start], placeholder(secret.kind)]
        at = secret.end
    return "".join([*pieces, text[at:]]), secrets


def placeholder(kind: str) -> str:
    """What stands for a secret of this kind, such as `REDACTED_GITHUB_TOKEN`."""
    return "REDACTED_" + re.sub(r"\W+", "_", kind).strip("_").upper()


def find(text: str) -> list[Secret]:
    """Secrets in `text` by position; of two that overlap the longer one."""
    found = sorted({*_private_keys(text), *_provided(text), *_named(text), *_random(text)}, key=_size, reverse=True)
    kept = list[tuple[int, int, str]]()  # by position, none overlapping
    for start, end, kind in found:
        at = bisect(kept, (start, end, kind))
        if end > start and (at == 0 or kept[at - 1][1] <= start) and (at == len(kept) or end <= kept[at][0]):
            kept.insert(at, (start, end, kind))
    breaks = [newline.start() for newline in re.finditer("\n", text)]
    return [Secret(start, end, kind, bisect(breaks, start) + 1) for start, end, kind in kept]


def _size(found: tuple[int, int, str]) -> tuple[int, bool, int]:
    """Longer ones first; of the same length those whose kind says most."""
    start, end, kind = found
    return end - start, kind not in GENERIC, -start


def _private_keys(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _PRIVATE_KEY.finditer(text) if "PRIVATE KEY" in text else ():
        if sum(map(str.isalnum, match[2])) >= LEAST:
            yield match.start(2), match.end(2), str(PrivateKeyDetector.secret_type)


def _provided(text: str) -> Iterator[tuple[int, int, str]]:
    """What looks like the keys of well-known services."""
    for plugin in _providers():
        for pattern in plugin.denylist:
            for match in pattern.finditer(text):
                start, end = _value(match)
                if _is_whole(plugin, text[start:end]):
                    yield start, end, str(plugin.secret_type)


def _value(match: re.Match[str]) -> tuple[int, int]:
    """The secret in a match: its first group that is long enough, else all of it; to the end of its word.

    Some patterns stop as soon as they are sure, in the midst of the key.
    """
    groups = (group for group in range(1, match.re.groups + 1) if match[group] and len(match[group]) >= LEAST)
    start, end = match.span(next(groups, 0))
    rest = _WORD.match(match.string, end)
    return start, rest.end() if rest else end


def _is_whole(plugin: Any, value: str) -> bool:
    if len(value) < LEAST or heuristic.is_templated_secret(value):
        return False
    check = getattr(plugin, "is_formally_valid", None)
    return check(value) if check else True


def _named(text: str) -> Iterator[tuple[int, int, str]]:
    """Values given to names such as `password`."""
    for match in _KEYWORD_LINE.finditer(text):
        line = match[0]
        values = {*_keywords().analyze_string(line), *_TOKEN_VALUE.findall(line)}
        for value in filter(_is_password, values):
            for found in re.finditer(re.escape(value), line):  # all: a name may be spelt like its value
                yield match.start() + found.start(), match.start() + found.end(), str(KeywordDetector.secret_type)


def _is_password(value: str) -> bool:
    if len(value) < LEAST or any(map(str.isspace, value)) or set(value) & set("(){}<>$%"):
        return False
    return not (_SPEAKING.fullmatch(value) or _is_harmless(value))


def _random(text: str) -> Iterator[tuple[int, int, str]]:
    """Quoted strings without any order in them."""
    for match in _RANDOM.finditer(text):
        value = match["value"]
        if not any(map(str.isdigit, value)) or _SPEAKING.fullmatch(value) or _is_harmless(value):
            continue
        for plugin in _entropies():
            charset: str = plugin.charset
            if set(value) <= set(charset) and plugin.calculate_shannon_entropy(value) > plugin.entropy_limit:
                yield match.start("value"), match.end("value"), str(plugin.secret_type)
                break


def _is_harmless(value: str) -> bool:
    return (
        heuristic.is_sequential_string(value)
        or heuristic.is_potential_uuid(value)
        or heuristic.is_templated_secret(value)
        or heuristic.is_not_alphanumeric_string(value)
        or len(set(value)) < LEAST // 2
    )


@cache
def _providers() -> tuple[Any, ...]:
    """detect-secrets' patterns of services' keys. Public addresses are no secrets, whole private keys are ours."""
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    others = (IPPublicDetector, PrivateKeyDetector)
    classes = get_mapping_from_secret_type_to_class().values()
    return tuple(kind() for kind in classes if issubclass(kind, RegexBasedDetector) and kind not in others)


@cache
def _keywords() -> Any:
    return KeywordDetector()


@cache
def _entropies() -> tuple[Any, ...]:
    return HexHighEntropyString(), Base64HighEntropyString()
