"""Secrets: every kind found, nothing of them left, and ordinary code left alone."""

import ast
from hashlib import sha256
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server.files.secret_lines import INNOCENTS
from server.files.secret_lines import SECRETS as SECRET_LINES

from starling_server.files.secrets.redact import find, placeholder, redact

# Made up, in the shape of the real ones; split so that no scanner takes this file for a leak.
SECRETS = {
    "AWS Access Key": "AKIA" + "IOSFODNN7EXAMPLQ",
    "GitHub Token": "ghp_" + "abcdEFGHijklmnop0123QRSTuvwxYZ456789",
    "Slack Token": "xoxb-" + "123456789012-1234567890123-4mt0t4l1yf3k3t0k3n4mt0t4",
    "Stripe Access Key": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "JSON Web Token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "Base64 High Entropy String": "k8Jd2LqX9vB4nR7t" + "W3mZ6pF1sH5gY0cA",
}
KEY = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEpAIBAAKCAQEA75fQ\nabcdEFGH1234\n-----END RSA PRIVATE " + "KEY-----"


@pytest.mark.parametrize("kind", SECRETS)
def test_every_kind_is_found_whole(kind: str) -> None:
    clean, found = redact(f'import os\n\nVALUE = "{SECRETS[kind]}"\nOTHER = 1\n')
    assert clean == f'import os\n\nVALUE = "{placeholder(kind)}"\nOTHER = 1\n'
    assert [(secret.kind, secret.line) for secret in found] == [(kind, 3)]


def test_a_private_key_keeps_its_frame_only() -> None:
    clean, found = redact(f'key = """{KEY}"""\n')
    assert "MIIE" not in clean
    assert "1234" not in clean
    assert clean.count("PRIVATE KEY-----") == 2
    assert [secret.kind for secret in found] == ["Private Key"]


@pytest.mark.parametrize(
    "line",
    [
        'password = "hunter2hunter2"',
        "DB_PASSWORD: 's3cr3t-Pa55'",
        'connect(user="me", password="tr0ub4dor&3")',
        'client = connect(password="tr0ub4dor&3")',
        'api_key = "0f3a9bd2"',
        "token = 'a8f3k2l9d7'",
        'url = "postgres://admin:s3cr3tPassw0rd@db.example.com/x"',
    ],
)
def test_passwords_by_their_names(line: str) -> None:
    clean, found = redact(line)
    assert len(found) == 1
    assert line[found[0].start : found[0].end] not in clean


@pytest.mark.parametrize(
    "line",
    [
        'password = os.environ["DB_PASSWORD"]',
        'help = "Enter your password here"',
        'password_field = "password"',
        "def reset_password(token): return token",
        'secret_name = "database-credentials"',
        'color = "ffaabbcc"',
        'version = "2024.10.01"',
        'id = "123e4567-e89b-12d3-a456-426614174000"',
        'alphabet = "abcdefghijklmnopqrstuvwxyz"',
        'password = "<your-password>"',
        'url = "https://example.org/a/long/path/to/some/page"',
        'import_name = "starling_server.files.secrets.redact.find"',
        'key = "aaaaaaaaaaaaaaaaaaaaaaaa"',
    ],
)
def test_ordinary_code_is_left_alone(line: str) -> None:
    assert redact(line) == (line, [])


def test_several_in_one_line_and_in_each_other() -> None:
    line = f'login("{SECRETS["GitHub Token"]}", password="{SECRETS["AWS Access Key"]}")'
    clean, found = redact(line)
    assert len(found) == 2
    assert all(value not in clean for value in SECRETS.values())


def test_a_secret_is_replaced_wherever_it_stands() -> None:
    """One place says that it is one; a model could learn it from the others."""
    text = 'url = "https://me:t0psecr3t@host/api.git"\n\ndef test(log):\n    assert "t0psecr3t" not in log\n'
    cleaned, found = redact(text)
    assert "t0psecr3t" not in cleaned
    assert [secret.line for secret in found] == [1, 4]
    odd = 'password = "k9#vT!2mQz"\n# not k9#vT!2mQz again\nk9 = 1\n'
    assert "k9#vT!2mQz" not in redact(odd)[0]
    longer = text.replace('assert "t0psecr3t"', "assert not_t0psecr3t_but_a_name")
    assert "not_t0psecr3t_but_a_name" in redact(longer)[0], "a longer word is another one"


@given(st.text(alphabet="abcXYZ019_-=:+/'\" \n\\{}().", max_size=400))
def test_what_was_redacted_holds_no_secret(text: str) -> None:
    clean, _ = redact(text)
    assert find(clean) == []


def test_a_name_spelt_like_its_value_hides_nothing() -> None:
    clean, _ = redact('secret1234 = "secret1234"')
    assert "secret1234" not in clean


def test_a_digest_is_a_secret_only_under_a_name_that_says_so() -> None:
    digest = sha256(b"a").hexdigest()
    assert redact(f'DIGEST = "{digest}"\n') == (f'DIGEST = "{digest}"\n', [])
    for name in ("SECRET", "api_key", "SALT", "signing_key"):
        assert redact(f'{name} = "{digest}"\n')[0] == f'{name} = "{placeholder("Secret Keyword")}"\n'


@pytest.mark.parametrize(("what", "template", "values"), SECRET_LINES, ids=[what for what, *_ in SECRET_LINES])
def test_secrets_in_the_lines_where_they_occur(what: str, template: str, values: tuple[str, ...]) -> None:
    text = template.format(*values)
    clean, found = redact(text)
    assert "".join(text[secret.start : secret.end] for secret in found) == "".join(values)
    assert clean == template.format(*(placeholder(secret.kind) for secret in found))
    assert redact(clean) == (clean, [])


@pytest.mark.parametrize(("what", "text"), INNOCENTS, ids=[what for what, _ in INNOCENTS])
def test_what_looks_like_a_secret_and_is_none(what: str, text: str) -> None:
    assert redact(text) == (text, [])


def test_python_stays_python() -> None:
    """Quotes stay, so what could be compiled can be compiled."""
    compiled = 0
    for _, template, values in SECRET_LINES:
        text = template.format(*values)
        try:
            ast.parse(text)
        except SyntaxError:
            continue
        ast.parse(redact(text)[0])
        compiled += 1
    assert compiled > 20


FRAGMENTS = (
    "password", "password=", "password = '", "password='${", "token: ", "token=a.b.c.", "secret", "key", "auth=(",
    "eyJ", "eyJhbGciOi.eyJhbGciOi.", "://", "://a:@", "-----BEGIN ",
    "-----BEGIN PRIVATE " + "KEY-----\nAAAAAAAAAAAAAAAA", "'", '"', "$2y$", "sk-", "xoxb-", "Bearer ", "login(",
    "-u a:b", "mysql -p", "login a password ", "kind: Secret\ndata:\n a: b\n", 'variable "password" {', "${",
    "AccountKey=", "&password=a1b2c3d4", "'aB3dE5fG7hI9jK1lM3nO5'", "9f86d081-", "\n", "a-",
)  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_time_grows_as_text_does(fragment: str) -> None:
    """Eight times the text takes less than 24 times the processor time; the square would take 64 times as much."""
    short, long = (_seconds((fragment * size)[:size]) for size in (20_000, 160_000))
    assert long < 24 * max(short, 0.1)


def _seconds(text: str) -> float:
    began = process_time()
    redact(text)
    return process_time() - began


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text", ["a" * 200_000, "password" * 20_000, "eyJ" * 50_000, "'" * 100_000, "-----BEGIN " * 9_000]
)
def test_strange_text_is_left_alone(text: str) -> None:
    assert redact(text) == (text, [])


@pytest.mark.timeout(60)
def test_twenty_thousand_secrets_take_no_time() -> None:
    text = "".join(f'key = "{sha256(bytes([n % 256, n // 256])).hexdigest()}"\n' for n in range(20_000))
    clean, found = redact(text)
    assert clean == f'key = "{placeholder("Secret Keyword")}"\n' * 20_000
    assert [secret.line for secret in found] == list(range(1, 20_001))
