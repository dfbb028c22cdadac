"""Secrets: every kind found, nothing of them left, and ordinary code left alone."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starling_training.redact import find, placeholder, redact

# Made up, in the shape of the real ones; split so that no scanner takes this file for a leak.
SECRETS = {
    "AWS Access Key": "AKIA" + "IOSFODNN7EXAMPLQ",
    "GitHub Token": "ghp_" + "abcdEFGHijklmnop0123QRSTuvwxYZ456789",
    "Slack Token": "xoxb-" + "123456789012-1234567890123-4mt0t4l1yf3k3t0k3n4mt0t4",
    "Stripe Access Key": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "JSON Web Token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "Hex High Entropy String": "9f86d081884c7d65" + "9a2feaa0c55ad015",
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
        'import_name = "starling_training.redact.find"',
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


@given(st.text(alphabet="abcXYZ019_-=:+/'\" \n\\{}().", max_size=400))
def test_what_was_redacted_holds_no_secret(text: str) -> None:
    clean, _ = redact(text)
    assert find(clean) == []


def test_a_name_spelt_like_its_value_hides_nothing() -> None:
    clean, _ = redact('secret1234 = "secret1234"')
    assert "secret1234" not in clean


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text", ["a" * 200_000, "password" * 5_000, "eyJ" * 50_000, "'" * 100_000, "-----BEGIN " * 9_000]
)
def test_strange_text_takes_no_time(text: str) -> None:
    assert redact(text) == (text, [])


@pytest.mark.timeout(20)
def test_twenty_thousand_hashes_take_no_time() -> None:
    hashes = "".join(f'"{sha256(bytes([n % 256, n // 256])).hexdigest()}",\n' for n in range(20_000))
    clean, found = redact(hashes)
    assert clean == f'"{placeholder("Hex High Entropy String")}",\n' * 20_000
    assert [secret.line for secret in found] == list(range(1, 20_001))
