"""Classifies strings: random, human-chosen words, or a placeholder for a secret.

Some rules are rewritten from the allow-lists of gitleaks (MIT, © 2019 Zachary Rice).
"""

import re
from base64 import b64decode
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from math import log2

LEAST = 8
"""Min characters of a value that is redacted."""
PLACEHOLDER = "REDACTED_"
"""Prefix of every placeholder."""
_SPEAKING = re.compile(r"[^\W\d_]+(?:[_\-.:/+, ]{1,3}[^\W\d_]+)*[_\-.:]?")
"""A value that consists of words alone is a name, not a password."""
_TEMPLATE = re.compile(
    r"\$\{[^{}]{0,80}\}|\$\{\{[^{}]{0,80}\}\}|\{\{[^{}]{0,80}\}\}|\$\([^()]{0,80}\)|#\{[^{}]{0,80}\}|<%.{0,80}?%>"
    r"|<[\w \-.|/:]{1,60}>|\{[A-Za-z_][\w.\[\]:!]{0,60}\}|\{\d{0,2}\}|%\(\w{1,60}\)[sdr]|%[sdrv](?![\w%])"
    r"|%[A-Z_]{2,40}%"
    r"|@[A-Z_]{2,40}@|(?<![\w$])\$[A-Za-z_]\w{2,40}(?![$\w])|\[[A-Za-z_ \-]{3,40}\]|__[A-Z_]{2,40}__"
)
_DUMMY = re.compile(
    r"(?<![A-Za-z])(?:example|sample|dummy|test(?:ing)?|fake|mock|foo|bar|baz|your|placeholder|todo|invalid|wrong|"
    r"change[-_ ]?me|changeit|replace|insert|some|redacted)(?![A-Za-z])",
    re.IGNORECASE,
)
_PASSWORD_AND_COUNT = re.compile(
    r"(?:my|user|db|new|old)?[_\-]?(?:password|passwd|pass|pwd|secret|token|key)_?\d{1,3}", re.IGNORECASE
)
_WORDS_AND_COUNT = re.compile(r"[^\W\d_]*(?:[_\-. ]?[^\W\d_]+)*[_\-. ]?(?:\d{1,2}|0?12?3?4?5?6?7?8?9?0?|20\d\d)")
_REFERENCE = re.compile(
    r"[A-Za-z_$][\w$]*(?:(?:\.|->|::|\?\.)[A-Za-z_$][\w$]*)+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"
    r"|[A-Za-z]+(?:_[A-Za-z]+|_\d{1,3})+\d{0,2}"
)
_PATH = re.compile(
    r"(?:\.{0,2}|~|[A-Za-z]:|[\w.\-]+)[/\\][\w.\-@ ]+(?:[/\\][\w.\-@ ]*)*|[a-z][a-z0-9+.\-]*://[^\s]*"
    r"|[\w\-]+(?:\.[\w\-]+)*\.(?:[a-z]{2,5}|mp3|mp4|h5)|[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+"
)
_EXPRESSION = re.compile(
    r"[A-Za-z_][\w.]*\(.*\)?|[A-Za-z_][\w.]*\[.*\]?|[!&*]?[A-Za-z_]\w*(?:\.\w+)*\(\)|\w+(?:\*\w+)+"
    r"|0x[0-9A-Fa-f]+|#[0-9A-Fa-f]{3,8}(?:;.*)?|![A-Za-z]+"
)
_RULE = re.compile(r"\\[wdsbWDSB]|\(\?[:=!P<]|a-z|A-Z|0-9|\]\{\d|\.\*")
"""Found in patterns and password rules, not in passwords."""
_LETTERS = re.compile(r"[A-Za-z][a-z]{3,}|[A-Z]{5,}")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"(?:0x)?[0-9a-f]+", re.IGNORECASE)
_KNOWN_DATA = (
    "iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "AAABAA", "MII", "AAAAB3NzaC1", "AAAAC3NzaC1", "AAAAE2VjZHNh", "PHN2Zy",
    "PD94", "H4sI", "UEsDB", "JVBERi0", "T2dnUw", "d09GR", "AAEAAAA", "SUQz", "eJ", "LS0tLS1CRUdJTiBDRVJU",
    "LS0tLS1CRUdJTiBQVUJM",
)  # fmt: skip
"""Base64 prefixes of images, fonts, archives, certificates and public keys."""


def is_password(value: str, least: int = LEAST) -> bool:
    """Whether `value`, in a secret's position, may be a secret: neither words nor a placeholder."""
    if len(value) < least or PLACEHOLDER in value or any(map(str.isspace, value)):
        return False
    if is_jumbled(value):
        return not is_stand_in(value)
    return not (
        is_stand_in(value)
        or _SPEAKING.fullmatch(value)
        or not any(map(str.isalpha, value))
        or _REFERENCE.fullmatch(value)
        or _PATH.fullmatch(value)
        or _EXPRESSION.fullmatch(value)
    )


def is_token(value: str, least: int = LEAST) -> bool:
    """Whether `value` looks machine-generated, or like a word mixed with other characters."""
    if not is_password(value, least) or not any(map(str.isdigit, value)):
        return False
    return changes(value) >= max(3, len(value) // 5) and not (is_uuid(value) or _PATH.fullmatch(value))


def is_jumbled(value: str) -> bool:
    """Whether a string of 16 or more characters mixes letters with other characters in a way that words do not."""
    if len(value) < 16 or len(set(value)) < 9 or changes(value) < 0.3 * len(value):
        return False
    if spelt(value) >= 0.5:
        return False
    cases = Counter(_sort(character) for character in value)
    return bool(cases["digit"]) or min(cases["lower"], cases["upper"]) >= 4


def spelt(value: str) -> float:
    """The share of a value in runs of letters as long as words, from 0 to 1."""
    words = (run for run in _LETTERS.findall(value) if 4 * sum(letter in "aeiouyAEIOUY" for letter in run) >= len(run))
    return sum(map(len, words)) / len(value)


def is_stand_in(value: str) -> bool:
    """Whether `value` is a placeholder for a secret: `<token>`, `${TOKEN}`, `xxxx`, `your-key-1`, an alphabet."""
    if PLACEHOLDER in value or len(set(value)) < min(4, len(value)):
        return True
    if _RULE.search(value):
        return True
    rest = _TEMPLATE.sub("", value)
    if len(rest) < len(value) and (len(rest) < LEAST or not is_jumbled(rest)):
        return True
    if (_DUMMY.search(value) or _PASSWORD_AND_COUNT.fullmatch(value)) and _WORDS_AND_COUNT.fullmatch(value):
        return True
    return is_alphabet(value) or "xxxxx" in value.lower() or "*****" in value or value.endswith("...")


def is_alphabet(value: str) -> bool:
    """Whether most characters of `value` are one above the previous one, as in alphabets and in 12345678."""
    steps = sum(ord(second) - ord(first) in (0, 1) for first, second in pairwise(value))
    longest = run = 1
    for first, second in pairwise(value):
        run = run + 1 if ord(second) - ord(first) == 1 else 1
        longest = max(longest, run)
    return longest >= 20 or (longest >= LEAST and steps >= 0.9 * len(value)) or (value.isdigit() and longest > 5)


def is_words(value: str) -> bool:
    """Whether a value consists of words alone."""
    return _SPEAKING.fullmatch(value) is not None


def is_reference(value: str) -> bool:
    """Whether unquoted text refers to a name in code: `settings.TOKEN`, `get_token()`, `TOKEN_2`."""
    return bool(_REFERENCE.fullmatch(value) or _EXPRESSION.fullmatch(value) or _SPEAKING.fullmatch(value))


def is_uuid(value: str) -> bool:
    """Whether a value is a UUID."""
    return _UUID.fullmatch(value) is not None


def is_hex(value: str) -> bool:
    """Whether a value consists of hexadecimal digits alone."""
    return _HEX.fullmatch(value) is not None


def is_data(value: str) -> bool:
    """Whether base64 encodes an image, a font, a certificate or readable text."""
    if value.startswith(_KNOWN_DATA):
        return True
    decoded = decoded_base64(value)
    return len(decoded) >= 6 and sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in decoded) >= 0.9 * len(decoded)


def decoded_base64(value: str) -> bytes:
    """The bytes that `value` encodes in base64; empty if it is not base64."""
    try:
        return b64decode(
            value + "=" * (-len(value) % 4), altchars=b"-_" if "-" in value or "_" in value else None, validate=True
        )
    except ValueError:
        return b""


def is_pair(value: str) -> bool:
    """Whether base64 encodes `user:password`."""
    decoded = decoded_base64(value)
    return 0 < decoded.find(b":") < len(decoded) - 1 and all(32 <= byte < 127 for byte in decoded)


def is_drawn(value: str) -> bool:
    """Whether base64 is random: capitals, small letters and digits mixed, and no words between other characters."""
    longest = max(re.split(r"[_\-=/+.~]", value), key=len)
    sorts = {_sort(character) for character in value}
    return (
        {"upper", "lower", "digit"} <= sorts
        and len(longest) >= 10
        and changes(longest) >= 0.35 * len(longest)
        and entropy(value) > 4
        and is_jumbled(value)
        and spelt(value) < 0.35
        and not is_stand_in(value)
    )


def is_key(value: str) -> bool:
    """Whether 16 or more characters are random digits and letters, hexadecimal included."""
    if len(value) < 16 or not is_token(value) or is_data(value):
        return False
    if is_hex(value):
        return len(value) >= 32 and entropy(value) > 3
    return is_jumbled(value) or (changes(value) >= 0.25 * len(value) and spelt(value) < 0.5 and entropy(value) > 3.3)


def entropy(value: str) -> float:
    """Shannon entropy, in bits per character."""
    return -sum(count / len(value) * log2(count / len(value)) for count in Counter(value).values())


@lru_cache(4096)
def _sort(character: str) -> str:
    if character.isdigit():
        return "digit"
    return "upper" if character.isupper() else "lower" if character.isalpha() else "other"


def changes(value: str) -> int:
    """Number of changes between small letters, capitals, digits and other characters."""
    sorts = [_sort(character) for character in value]
    return sum(first != second for first, second in pairwise(sorts))
