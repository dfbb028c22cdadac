"""Secrets identified by their place: in URLs, headers, commands, calls and files with a single purpose."""

import re
from collections.abc import Iterator

from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString, HexHighEntropyString

from starling_server.files.secrets import plausible
from starling_server.files.secrets.assigned import KIND
from starling_server.files.secrets.providers import Found

URL, BASE64, HEX = (
    str(kind.secret_type) for kind in (BasicAuthDetector, Base64HighEntropyString, HexHighEntropyString)
)
_URL = re.compile(r"[^\s:/?#'\"<>`{}]{0,100}:(?P<value>[^\s/?#'\"<>`]{1,200})@(?=[\w.\-\[{$%])")
_URL_TOKEN = re.compile(r"(?P<value>[\w\-.~]{16,200})@(?=[\w.\-\[])")
_HEADER = re.compile(
    r"(?:[Bb]earer|BEARER|[Bb]asic|BASIC|[Tt]oken|[Aa]pi[Kk]ey|Splunk|GenieKey|SSWS"
    r"|Bot)[ \t]{1,3}(?P<value>[\w.~+/\-]{8,2000}={0,2})(?![\w({\[])"
)
_API_HEADER = re.compile(
    r"\b[Xx]-(?:[A-Za-z]{1,20}-){0,3}(?:[Aa]pi-?)?(?:[Kk]ey|KEY|[Tt]oken|TOKEN"
    r"|[Ss]ecret)['\"]?[ \t]{0,3}:[ \t]{0,3}['\"]?(?P<value>[\w.~+/\-=]{8,500})"
)
_USER = re.compile(
    r"(?:[ \t'\"]-u|--user|--proxy-user|-U|--basic-auth|--auth|--creds"
    r"|--credentials)[ \t=,'\"]{1,5}[\w.\-@\\+%]{1,80}:(?P<value>[^\s'\"]{3,100})"
)
_COMMANDS = (
    ("sshpass", re.compile(r"sshpass[ \t]+-p[ \t]?['\"]?(?P<value>[^\s'\"]{3,100})")),
    ("mysql", re.compile(r"mysql\w{0,6}[^\n|;]{0,200}?[ \t]-p['\"]?(?P<value>[^\s'\"]{3,100})")),
    ("mongo", re.compile(r"mongo\w{0,8}[^\n|;]{0,200}?[ \t]-p[ \t]['\"]?(?P<value>[^\s'\"]{3,100})")),
    (" login", re.compile(r" login\b[^\n|;]{0,200}?[ \t]-p[ \t]['\"]?(?P<value>[^\s'\"]{3,200})")),
    ("redis-cli", re.compile(r"redis-cli[^\n|;]{0,200}?[ \t]-a[ \t]['\"]?(?P<value>[^\s'\"]{3,100})")),
    ("openssl", re.compile(r"-pass(?:in|out)?[ \t]pass:['\"]?(?P<value>[^\s'\"]{3,100})")),
    (
        "chpasswd",
        re.compile(
            r"echo[ \t]+['\"]?[\w.\-]{1,40}:(?P<value>[^\s'\"|]{3,100})['\"]?[ \t]*\|[ \t]*(?:sudo[ \t]+)?chpasswd"
        ),
    ),
    ("oracle:thin:", re.compile(r"oracle:thin:[\w.\-]{1,60}/(?P<value>[^\s'\"@/]{3,100})@")),
    (
        "ConvertTo-SecureString",
        re.compile(r"ConvertTo-SecureString[ \t]+(?:-String[ \t]+)?['\"](?P<value>[^'\"\n]{3,100})['\"]"),
    ),
    ("PASSWORD ", re.compile(r"PASSWORD[ \t]+(?:= ?)?'(?P<value>[^'\n]{4,100})'")),
    ("password ", re.compile(r"password[ \t]+'(?P<value>[^'\n]{4,100})'")),
    ("IDENTIFIED BY", re.compile(r"IDENTIFIED (?:WITH \S{1,40} )?BY[ \t]+['\"](?P<value>[^'\"\n]{3,100})['\"]")),
    ("identified by", re.compile(r"identified by[ \t]+['\"](?P<value>[^'\"\n]{3,100})['\"]")),
    ("login", re.compile(r"login\s{1,4}[^\s'\"(){}=]{1,100}\s{1,4}password\s{1,4}(?P<value>[^\s'\"(){}]{3,200})")),
    (
        "machine",
        re.compile(
            r"^machine\s{1,4}\S{1,100}(?:\s{1,4}login\s{1,4}\S{1,100})?\s{1,4}password\s{1,4}(?P<value>\S{3,200})",
            re.MULTILINE,
        ),
    ),
    (
        ":",
        re.compile(
            r"^[\w.*\-]{1,100}:(?:\d{4,5}|\*):[^:\s'\"]{1,60}:[^:\s'\"]{1,60}:(?P<value>[^\s'\"]{3,200})$", re.MULTILINE
        ),
    ),
)
"""Required text, and the pattern of a command or line that holds a password."""
_CONNECTION = re.compile(
    r"(?:;[ \t]*|['\"]|\b(?:host|dbname|user|port)=\S{1,60}[ \t]|[?&])(?:[Pp]assword|PASSWORD|[Pp]wd|PWD|[Pp]ass|"
    r"[Ss]hared[Aa]ccess[Kk]ey|[Aa]ccount[Kk]ey|[Cc]lient[Ss]ecret|access_token|api_key|apikey|token|key"
    r"|secret)[ \t]?=[ \t]?"
    r"(?P<value>(?!=)[^;'\"\s&<>]{3,300})"
)
_CALL = re.compile(
    r"(?:\b|_)(?:login|log_in|signin|sign_in|authenticate|auth|getConnection|connect|basic_auth|basicAuth"
    r"|HTTPBasicAuth|BasicAuth|set_password|setPassword|"
    r"create_user|createUser|create_superuser|checkPassword|check_password|[Cc]redentials?"
    r"|\w{0,30}(?:Client|Credentials?|Session|Token|Api|API|SDK|Auth|Connection|Key))"
    r"[ \t]?(?:=[ \t]?)?\((?P<arguments>[^()\n]{8,400})\)?"
)
_EXAMPLES = frozenset({
    "password", "passwd", "pass", "pwd", "secret", "changeme", "change-me", "user", "username", "example", "test",
    "root", "admin", "guest", "postgres", "mysql", "redis", "rabbitmq", "mongo", "token", "key", "xxx", "xxxx", "foo",
    "bar", "baz", "none", "null", "string", "value", "credentials", "your_password", "yourpassword", "my_password",
    "mypassword", "your-password", "password1", "pw", "p", "true", "false", "prompt",
})  # fmt: skip
"""Example values that documentation uses in place of a password."""
_SECOND = re.compile(
    r"login|log_in|sign|auth|Auth|getConnection|connect|create_|createU|(?<=[Pp])assword|[Cc]redential"
)
_LOGINS = frozenset({"login", "log_in", "sign", "getConnection", "create_", "createU", "assword"})
_STRING = re.compile(r"(?<![\w=])[bru]?(?P<quote>['\"`])(?P<value>[^'\"`\s\\]{1,300})(?P=quote)")
_RANDOM = re.compile(r"(?P<quote>['\"])(?P<value>[\w+/\-.~]{20,140}={0,2})(?P=quote)", re.ASCII)
_HARMLESS = re.compile(
    r"sha\d|sha_|hash|integrity|digest|checksum|crc|etag|md5|fingerprint|thumbprint|public|pub_|cert|image"
    r"|img|src|icon|font|data|"
    r"base64|b64|encod|decod|bytes|hex|nonce|vector|expected|signature|test|assert|version|build|commit"
    r"|rev|resolved|uuid|guid|"
    r"href|url|path|file|cursor|alphabet|chars|class|sitekey",
    re.IGNORECASE,
)
_BLOCK = re.compile(
    r"^[ \t]*(?:data|stringData):[ \t]*\n(?P<lines>(?:[ \t]+\S[^\n]{0,8000}(?:\n|\Z)){1,60})", re.MULTILINE
)
_ENTRY = re.compile(
    r"^[ \t]+[\w.\-]{1,80}:[ \t]*(?:[|>]-?[ \t]*\n[ \t]+)?[\"']?(?P<value>[^\s\"']{3,8000})[\"']?[ \t]*$", re.MULTILINE
)
_DOCKER = re.compile(r"\\?[\"']auth\\?[\"'][ \t]?:[ \t]?\\?[\"'](?P<value>[A-Za-z0-9+/]{8,500}={0,2})\\?[\"']")
_VARIABLE = re.compile(
    r"variable[ \t]+\"\w{0,60}(?:password|secret|token|key"
    r"|credential)\w{0,20}\"[ \t]*\{[^}]{0,300}?default[ \t]*=[ \t]*\"(?P<value>[^\"\n]{6,200})\""
)


def find(text: str) -> Iterator[Found]:
    """Every secret identified by its place."""
    yield from _urls(text)
    yield from _headers(text)
    yield from _commands(text)
    yield from _connections(text)
    yield from _calls(text)
    yield from _kubernetes(text)
    yield from _files(text)
    yield from _random(text)


def _urls(text: str) -> Iterator[Found]:
    at = text.find("://")
    while at >= 0:
        match = _URL.match(text, at + 3) or _URL_TOKEN.match(text, at + 3)
        judge = _is_given if match and match.re is _URL else plausible.is_token
        if match and judge(match["value"]):
            yield match.start("value"), match.end("value"), URL
        at = text.find("://", at + 3)


def _is_given(value: str) -> bool:
    """Whether a word in a password's position is a real password."""
    if value.lower() in _EXAMPLES or plausible.PLACEHOLDER in value or (value.isdigit() and len(value) < 6):
        return False
    return not (plausible.is_stand_in(value) or value.startswith(("$", "{", "%")) or ("{" in value and "}" in value))


def _headers(text: str) -> Iterator[Found]:
    for match in _HEADER.finditer(text):
        value = match["value"]
        drawn = plausible.is_jumbled(value) and not plausible.is_stand_in(value)
        if drawn or plausible.is_token(value) or plausible.is_pair(value):
            yield match.start("value"), match.end("value"), KIND
    for match in _API_HEADER.finditer(text) if "X-" in text or "x-" in text else ():
        if plausible.is_token(match["value"]):
            yield match.start("value"), match.end("value"), KIND


def _commands(text: str) -> Iterator[Found]:
    if "-u" in text or "-U" in text or "--" in text:
        for match in _USER.finditer(text):
            if _is_given(match["value"]):
                yield match.start("value"), match.end("value"), KIND
    for mark, pattern in _COMMANDS:
        if mark in text:
            for match in pattern.finditer(text):
                if _is_given(match["value"]) and not plausible.is_reference(match["value"]):
                    yield match.start("value"), match.end("value"), KIND


def _connections(text: str) -> Iterator[Found]:
    """Passwords in connection strings and in the queries of URLs."""
    if "=" in text:
        for match in _CONNECTION.finditer(text):
            value = match["value"]
            if plausible.is_password(value, 6) and not plausible.is_reference(value):
                yield match.start("value"), match.end("value"), KIND


def _calls(text: str) -> Iterator[Found]:
    """Secrets passed as positional arguments: `login("user", "…")`."""
    for match in _CALL.finditer(text):
        strings = list(_STRING.finditer(text, *match.span("arguments")))
        second = _SECOND.search(match[0][: match.start("arguments") - match.start()])
        judge = _is_typed if second and second[0] in _LOGINS else plausible.is_token
        for number, string in enumerate(strings):
            value = string["value"]
            if plausible.is_key(value) or (second and number and judge(value, 6)):
                yield string.start("value"), string.end("value"), KIND


def _is_typed(value: str, least: int) -> bool:
    """Whether a value could be a password chosen by a person."""
    return plausible.is_password(value, least) and not value.isalpha()


def _kubernetes(text: str) -> Iterator[Found]:
    """The values of Secret objects, under any name."""
    if "kind: Secret" in text:
        for block in _BLOCK.finditer(text):
            for entry in _ENTRY.finditer(text, *block.span("lines")):
                if _is_given(entry["value"]) and not entry["value"].startswith("LS0tLS1CRUdJTiBDRVJU"):
                    yield entry.start("value"), entry.end("value"), KIND


def _files(text: str) -> Iterator[Found]:
    """Docker logins and Terraform variables."""
    if "auth" in text:
        for match in _DOCKER.finditer(text):
            if plausible.is_pair(match["value"]) or plausible.is_token(match["value"], 16):
                yield match.start("value"), match.end("value"), KIND
    if "variable" in text:
        for match in _VARIABLE.finditer(text):
            if plausible.is_password(match["value"]):
                yield match.start("value"), match.end("value"), KIND


def _random(text: str) -> Iterator[Found]:
    """Quoted random strings without nearby text that explains them."""
    for match in _RANDOM.finditer(text):
        value = match["value"]
        if plausible.is_drawn(value) and not _is_explained(text, match, value):
            yield match.start("value"), match.end("value"), BASE64


def _is_explained(text: str, match: re.Match[str], value: str) -> bool:
    """Whether a string is data, judged by its form, its name or similar strings next to it."""
    before = text[max(0, match.start() - 120) : match.start()]
    line = before[before.rfind("\n") + 1 :]
    if plausible.is_data(value) or _HARMLESS.search(line) or value.startswith(("sha", "md5")):
        return True
    return not line.strip() and bool(_RANDOM.search(before[:-1] + text[match.end() : match.end() + 200]))
