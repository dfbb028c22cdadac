"""Values assigned to names such as `password`, in code and in configuration files.

The names of secrets are located first, with `str.find` for speed. The text after each is then matched by patterns that
start at that place and try a bounded number of characters.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from detect_secrets.plugins.keyword import KeywordDetector

from starling_server.files.secrets import plausible
from starling_server.files.secrets.plausible import LEAST
from starling_server.files.secrets.providers import Found

KIND = str(KeywordDetector.secret_type)
STRONG, WEAK, NONE = 2, 1, 0
"""How strongly a name suggests that its value is a secret: certainly, possibly, not at all."""
_MARKS = ("pass", "pwd", "secret", "token", "credential", "contrase", "key", "auth", "salt", "psk", "bearer")
_STRONG = re.compile(
    r"passw(?:or)?d|passphrase|passcode|pwd|secret(?!ar)|token(?!i[sz])|credential|contrase|bearer"
    r"|(?:api|auth|access|account|service|db|database|priv|private|client|encrypt|encryption|signing|sign"
    r"|master|session|hmac"
    r"|aes|licen[cs]e|consumer|subscription|storage|deploy|app|shared|webhook|crypt|jwt|cookie|security"
    r"|admin|server|host|rsa)key"
    r"|(?:db|database|key|user|admin|root|mysql|my|smtp|ftp|ldap|become|ssh|sudo|redis|pg|mail|email|auth"
    r"|store|require|host)pass$"
)
_WEAK = frozenset({"key", "auth", "salt", "psk", "authorization", "keys"})
_OTHER = re.compile(
    r"(?:public|pub|primary|foreign|sort|partition|cache|idempotency|natural|hot|bos|eos|eot|eod|pad|unk"
    r"|mask|sep|cls|special"
    r"|start|end|stop|next|prev|previous|image|audio|video|extra|first|last|continuation|page|cancel|cancellation|sync"
    r"|csrf|xsrf|decoder|begin|new|max|min|num|n)_?(?:key|token)s?\b"
)
_TAILS = frozenset({
    "type", "types", "name", "names", "field", "fields", "url", "uri", "urls", "path", "paths", "file", "filename",
    "dir", "folder", "id", "ids", "length", "len", "size", "min", "max", "policy", "header", "headers", "prefix",
    "suffix", "label", "hint", "placeholder", "error", "errors", "message", "messages", "msg", "expires", "expiry",
    "expiration", "lifetime", "env", "var", "regex", "pattern", "re", "algorithm", "alg", "format", "class", "model",
    "endpoint", "ttl", "count", "limit", "version", "manager", "provider", "input", "param", "parameter", "arg",
    "strategy", "mode", "status", "state", "title", "text", "help", "description", "desc", "prompt", "validator",
    "validators", "link", "view", "form", "template", "index", "position", "pos", "kind", "usage", "scope", "scopes",
    "issuer", "audience", "hash", "hashes", "digest", "sha", "sha1", "sha256", "sha512", "md5", "checksum",
    "fingerprint", "ref", "reference", "required", "enabled", "visible", "hidden", "column", "table", "button",
    "page", "route", "address", "date", "time", "at", "hasher", "hashers", "encoder", "handler", "exception", "event",
    "action", "callback", "function", "method", "char", "chars", "charset", "alphabet", "characters", "number",
    "dimension", "map", "code", "codes", "pair", "pairs", "set", "list", "enum", "board", "down", "up", "press",
    "frame", "ring", "store", "space", "word", "words", "attribute", "attr", "property", "domain", "realm", "region",
    "selector", "icon", "color", "signature", "resource",
})  # fmt: skip
"""Last words of names whose value relates to a secret without being one."""
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_BEFORE = re.compile(r"[\w.\-$:]{0,60}\Z")
_AFTER = re.compile(r"[\w\-]{0,40}(?:\.\w{1,30}){0,2}")
_TYPE = (
    r"(?:[ \t]*:[ \t]*&?['\w.\[\]<>|?]{1,40}(?:[ \t]\w{1,20})?(?=[ \t]*=)"
    r"|[ \t]+(?:string|String|str)(?=[ \t]*=)|\[\d{0,4}\](?=[ \t]*=))?"
)
_OPERATOR = (
    r"(?P<sign>[ \t]{0,40}(?:=>|:=|\?\?=?|\|\|=?|\?=|\+=|[!=]==?|=|:|,|\(|>|[ \t]or[ \t])"
    r"|[ \t]{1,20}(?:value|content)[ \t]?=|[ \t]{1,4})"
)
_SIGN = re.compile(
    r"(?P<close>(?:\\?['\"`])?[ \t]?[\])]{0,2})" + _TYPE + _OPERATOR + r"(?P<gap>[ \t]{0,40}(?:\n[ \t]{0,40})?)"
)
"""The text between a name and its value: quotes and brackets that close the name, a type, an operator, whitespace."""
_QUOTED = re.compile(
    r"""[([]?[ \t]?(?:[bBrRuUfF@$L]|rb|new String\()?(?:\\"(?P<a>[^"\\\n]{1,500})\\"|"{3}(?P<b>[^"\\\n]{1,500})"{3}"""
    r"""|"(?P<c>(?:[^"\\\n]|\\.){1,500})"|'(?P<d>(?:[^'\\\n]|\\.){1,500})'|`(?P<e>[^`\n]{1,500})`)"""
)
_SCHEME = re.compile(r"(?:Bearer|bearer|Basic|basic|Token|token|ApiKey|Bot|AccessKey)[ ]+(?=\S+$)")
_BARE = re.compile(r"[^\s'\"`<>,;(){}\[\]&]{4,400}")
_LINE = re.compile(r"[^\s'\"`]\S{3,400}")
_OPENING = re.compile(
    r"(?:[-\s]*|.*\b(?:export|ENV|ARG|set|setx|env|declare -x|-e|--env|--build-arg|-D)[ \t]+|.*\$env:"
    r"|.*--from-literal=|-D)['\"]?"
)
_TO = re.compile(r"""\\?(?P<q>['"`])[ \t]*[!=]==?[ \t]*[\w.]{0,60}\Z""")
_SETTING = re.compile(
    r"\s*(?:-\s+)?['\"]?[\w.\-/ ]{1,80}['\"]?\s*(?:[:=](?:\s|\S|$)|$)|\s*(?:[#;!]|//|\[[^\]]+\]|$|ENV "
    r"|ARG |FROM |RUN |export |machine |login |password )"
)
_CODE = re.compile(
    r"\s*(?:def|class|function|import|from .+ import|return|const|let|var|func|public|private|package|use"
    r"|if|for|while|@|self\.)\b|.*[;{(]\s*$|.*\)\s*:?$"
)
_XML = re.compile(r"[^<>\s]{4,300}(?=</)")


def find(text: str) -> Iterator[Found]:
    """Every value whose name marks it as a secret."""
    lower = text.lower() if text.isascii() else text.translate(_LOWER)
    settings = is_settings(text)
    for at, mark in _places(lower):
        name_start = at - len(_before(text, at))
        name_end = at + len(mark) + _length(_AFTER, text, at + len(mark))
        strength = strength_of(text[name_start:name_end])
        if strength:
            yield from _given(text, name_start, name_end, strength, settings)
            yield from _compared(text, name_start)


def is_settings(text: str) -> bool:
    """Whether the first lines of a text look like settings (YAML, properties, dotenv) rather than code."""
    lines = text[:8_000].split("\n", 120)[:120]
    return not any(_CODE.match(line) for line in lines) and sum(map(bool, map(_SETTING.match, lines))) >= 0.8 * len(
        lines
    )


@lru_cache(20_000)
def strength_of(name: str) -> int:
    """How strongly a name suggests that its value is a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    joined, plain = "".join(words), "_".join(words)
    if not words or words[-1] in _TAILS or _OTHER.search(plain):
        return NONE
    if _STRONG.search(joined) or words[-1] == "pass":
        return STRONG
    return WEAK if words[-1] in _WEAK else NONE


_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def _places(lower: str) -> Iterator[tuple[int, str]]:
    """Start offsets of secret names; if one name contains two matches, the last."""
    for mark in _MARKS:
        at = lower.find(mark)
        while at >= 0:
            yield at, mark
            at = lower.find(mark, at + len(mark))


def _before(text: str, at: int) -> str:
    match = _BEFORE.search(text[max(0, at - 60) : at])
    return match[0] if match else ""


def _length(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() - at if match else 0


def _given(text: str, name_start: int, name_end: int, strength: int, settings: bool) -> Iterator[Found]:
    sign = _SIGN.match(text, name_end)
    if not sign:
        return
    quoted = _QUOTED.match(text, sign.end())
    found = _quoted(text, sign, quoted, strength) if quoted else _bare(text, name_start, sign, strength, settings)
    if found:
        yield *found, KIND


def _quoted(text: str, sign: re.Match[str], quoted: re.Match[str], strength: int) -> tuple[int, int] | None:
    group = quoted.lastgroup
    assert group is not None
    start, end = quoted.span(group)
    scheme = _SCHEME.match(text, start, end)
    start = scheme.end() if scheme else start
    value, operator = text[start:end], sign["sign"].strip()
    if operator == "," and not sign["close"].strip():
        return None
    judge = _judge(operator, strength)
    return (start, end) if judge(value) else None


def _judge(operator: str, strength: int) -> Callable[[str], bool]:
    if strength == WEAK:
        return _is_random
    return plausible.is_token if operator in {"(", ",", ">", ""} else _is_secret


def _is_secret(value: str) -> bool:
    return plausible.is_password(value, 6 if plausible.changes(value) > 2 else LEAST)


def _is_random(value: str) -> bool:
    """Whether a value is random enough to count as a secret under an ambiguous name such as `key`."""
    return plausible.is_pair(value) or plausible.is_key(value)


def _bare(text: str, name_start: int, sign: re.Match[str], strength: int, settings: bool) -> tuple[int, int] | None:
    """The span of an unquoted value."""
    operator, at = sign["sign"].strip(), sign.end()
    if operator == ">" and strength == STRONG:
        match = _XML.match(text, at)
        return match.span() if match and plausible.is_password(match[0], 6) else None
    if "\n" in sign["gap"] or operator not in {"=", ":", ":=", "?=", ""}:
        return None
    if strength == WEAK:
        match = _LINE.match(text, at)
        return match.span() if match and operator and plausible.is_pair(match[0]) else None
    if text.startswith("--", name_start):
        return _to_the_end(text, at)
    opening = _opening(text, name_start)
    said = settings or (opening or "").strip(" \t-'\"")
    if opening is not None and (said or (operator and text[name_start : sign.start()].isupper())):
        return _to_the_end(text, at)
    return _in_code(text, at) if operator else None


def _in_code(text: str, at: int) -> tuple[int, int] | None:
    """The span of an unquoted value in code, where names and calls are also possible."""
    match = _BARE.match(text, at)
    if not match or text[match.end() : match.end() + 1] in {"(", "["}:
        return None
    value = match[0].rstrip(".:\\")
    right = plausible.is_uuid(value) or (plausible.is_token(value) and not plausible.is_reference(value))
    return (at, at + len(value)) if right else None


def _to_the_end(text: str, at: int) -> tuple[int, int] | None:
    """The span of a value that ends at whitespace or at the end of its line: in shells, dotenv, properties and YAML."""
    match = _LINE.match(text, at)
    if not match or match[0].startswith(("$(", "${", "{{", "<", "[")):
        return None
    value = match[0].rstrip("\\,;\"'")
    if value.count("'") % 2 or value.count('"') % 2:
        value = re.split("['\"]", value, maxsplit=1)[0]
    least = 6 if plausible.changes(value) > 0 else LEAST
    return (at, at + len(value)) if plausible.is_password(value, least) and not plausible.is_reference(value) else None


def _opening(text: str, name_start: int) -> str | None:
    """The text before a name in its line, if it is empty or a word such as `export`."""
    before = text[max(0, name_start - 200) : name_start]
    line = before[before.rfind("\n") + 1 :]
    return line if _OPENING.fullmatch(line) else None


def _compared(text: str, name_start: int) -> Iterator[Found]:
    """The value in `"value" == password`."""
    before = text[max(0, name_start - 300) : name_start]
    match = _TO.search(before) if "=" in before[-4:] else None
    if match:
        opened = before.rfind(match["q"], 0, match.start("q"))
        value = before[opened + 1 : match.start("q")]
        if opened >= 0 and "\n" not in value and _is_secret(value):
            start = name_start - len(before) + opened + 1
            yield start, start + len(value), KIND
