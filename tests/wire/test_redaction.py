"""What looks like a key, a password or a person's data is taken out of texts; what looks a little like it is not."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.wire import redaction
from genai_spine.wire.redaction import BEYOND, Redaction, own_rule, rules, secrets

KEPT = Redaction(rules("secret", "personal"))

PEM = "-----BEGIN {0}PRIVATE KEY-----\n{1}MIIEowIBAAKCAQEA+abc/def\nghiJKL0123==\n-----END {0}PRIVATE KEY-----"
SECRETS = {
    "private key": [
        PEM.format("", ""),
        PEM.format("RSA ", ""),
        PEM.format("EC ", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\n"),
        PEM.format("OPENSSH ", "").replace("\n", "\\n"),
    ],
    "token": [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "Bearer 0a1b2c3d4e5f6a7b8c9d",
        "bearer abc.def-ghi_123456",
    ],
    "key": [
        "sk-proj-A1b2C3d4E5f6G7h8I9j0",
        "sk-ant-api03-AbCdEfGh1234567890_-xyz",
        "sk-or-v1-0123456789abcdef0123456789abcdef",
        "rk_live_51AbCdEfGhIjKlMnOp",
        "xai-A1b2C3d4E5f6G7h8I9j0",
        "csk-a1b2c3d4e5f6g7h8i9",
        "pplx-a1b2c3d4e5f6g7h8i9",
        "nvapi-a1b2c3d4e5f6g7h8i9",
        "gsk_abcdefghijklmnopqrstuvwxyzABCDEFGH",
        "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
        "r8_abcdefghijklmnopqrstuvwxyz0123456789",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl_mnopq",
        "glpat-a1b2c3d4e5f6g7h8i9j0",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "ya29.a0AfH6SMBx1234567890abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        'aws_secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
        "xoxb-123456789012-abcdefGHIJ",
    ],
    "password": ["postgres://spine:hunter2@", "redis://:pass-word@"],
    "e-mail": ["ada@example.org", "a.b+c_d@mail.ex-ample.co.uk", "jürgen@müller.example"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "6011000990139424"],
    "IBAN": ["DE89370400440532013000", "AT61 1904 3002 3457 3201", "NO93 8601 1117 947"],
    "phone": ["+43 660 1234567", "0043 660 123 45 67", "+1 (415) 555-0132", "(415) 555-0132", "415-555-0132"],
    "IP address": ["192.168.0.1", "8.8.8.8"],
}  # fmt: skip
INNOCENT = [
    "risk-assessment-procedure-for-tasks",
    "task-management-version-2-of-the-system",
    "sk-learn and pk-fields, key_value_store, hf_hub",
    "a bearer of securities",
    "version 1.2.3, section 4.2.1.7.3, 2026-11-22 01:27:24",
    "1795310550123 milliseconds, order 4111 1111 1111 1112",
    "DE89 1704 1044 0532 0130 02 is no account",
    "M47 30.5898 36.3792 28.6306 37.0027 27.1829 38.1",
    "call 555-0132 or room 415-55",
    "@decorator, user@localhost, a @ b.example",
    "https://example.org/path:8080/@handle",
    "-----BEGIN PUBLIC KEY-----",
    "eyJ is how it begins",
]


@pytest.mark.parametrize(("name", "secret"), [(name, each) for name, some in SECRETS.items() for each in some])
def test_a_secret_is_taken_out_and_what_stands_around_it_stays(name: str, secret: str) -> None:
    for before, behind in (("", ""), ("see ", "."), ("(", ")"), ('{"a": "', '"}'), ("x=", "\n")):
        if name == "token" and behind == ".":
            continue  # which may be a part of it
        assert KEPT.clean(f"{before}{secret}{behind}") == f"{before}[redacted {name}]{behind}"


@pytest.mark.parametrize("secret", [each for some in SECRETS.values() for each in some])
def test_a_secret_behind_an_escape_of_json_is_taken_out(secret: str) -> None:
    """Of a word whose letters are any, the escape's may go, too."""
    for escape in ("\\n", "\\t", '\\"', "\\u00df"):
        cleaned = KEPT.clean(f"a{escape}{secret} b")
        assert re.fullmatch(r'a\\(u00df?|[nt"])?\[redacted [^]]*\] b', cleaned), cleaned


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_no_secret_stays(text: str) -> None:
    assert KEPT.clean(text) == text


def test_a_card_is_found_between_other_numbers() -> None:
    assert KEPT.clean("7 of 4111 1111 1111 1111 5, 3") == "7 of [redacted card] 5, 3"


def test_what_overlaps_is_taken_out_whole() -> None:
    text = "https://ada@example.org:4111111111111111@host.example"
    assert KEPT.clean(text) == "https://[redacted e-mail]:[redacted card]"


@given(
    st.sampled_from([each for some in SECRETS.values() for each in some]),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_where_a_text_is_cut_no_part_of_a_secret_is_left(secret: str, before: int, behind: int, a: int, b: int) -> None:
    text = f"{'w ' * before}{secret}{' w' * behind}"
    begin, end = sorted((min(a, len(text)), min(b, len(text))))
    pieces = KEPT.clean(text, 0, begin), KEPT.clean(text, begin, end), KEPT.clean(text, end)
    kept = set(re.sub(r"\[redacted [^]]*\]", " ", " ".join(pieces)).split())
    assert kept <= {"w"}, kept


HOSTILE = [
    "a", "1", "1 ", "4", "4-", "4 4", "1.", "+1 ", "(2", "(234) ", "AA00", "AA12 ", "A1 ", "-", "eyJ", "\\neyJ",
    "eyJaaaaaaaa ", "sk-", " sk-aaaaaaaaaaaaaaaaaaaaaaaa", "@", "a@", "a@a.", "a.", "://", "a://:", "ab://a:",
    "bearer ", "Bearer a",
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY----- A-b: c", "aws_secret_access_key= ", " ", "\\n", "xox",
]  # fmt: skip


@pytest.mark.parametrize("letters", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["secret", "personal", "echo"])
def test_no_long_text_takes_long(kind: redaction.Kind, letters: int) -> None:
    """A pattern that tries all ways, or begins anew at each letter of a run, would not come to an end here."""
    for unit in HOSTILE:
        text = unit * (letters // len(unit))
        assert Redaction(rules(kind)).clean(text)


def test_an_error_echoes_no_key_however_it_is_masked() -> None:
    texts = ("Incorrect key: sk-ab***yz", "key sk-proj-****", "tokensk-abcdef123", "Bearer hunter2!", "key-abc123456")
    for text in texts:
        assert "[redacted]" in secrets().sub("[redacted]", text), text
    for secret in itertools.chain(SECRETS["key"], SECRETS["token"], SECRETS["private key"]):
        assert secrets().sub("[redacted]", f"it was {secret}") == "it was [redacted]"


# ---------------------------------------------------------------- rules of somebody's own


def test_a_rule_of_ones_own_is_found_beside_ours() -> None:
    own = own_rule("employee", r"EMP-\d{6}"), own_rule("project", r"(?:Blue|Red)bird", "[project]")
    cleaned = Redaction((*rules("personal"), *own)).clean("EMP-123456 of Redbird: ada@example.org")
    assert cleaned == "[redacted employee] of [project]: [redacted e-mail]"


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "not a regular expression"),
        ("[z-a]", "not a regular expression"),
        ("a{2,1}", "not a regular expression"),
        ("", "empty"),
        ("x{0,3}", "empty"),
        ("a|", "empty"),
        (r"\b", "empty"),
        ("(?=secret)", "empty"),
        ("a+", "without a bound"),
        (".*b", "empty|without a bound"),
        ("a.{3,}", "without a bound"),
        ("(a+)+b", "without a bound"),
        ("(?=a+)b", "without a bound"),
        ("(?:a{1,30}){1,30}b", "ways"),
        ("(?:a|a){1,60}b", "ways"),
        (r"\w{1,100}\w{1,100}\w{1,100}!", "ways"),
        ("a" * 501, "letters at most"),
    ],
)  # fmt: skip
def test_a_pattern_that_is_none_or_might_never_end_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        own_rule("mine", pattern)


@pytest.mark.parametrize(
    "pattern",
    [r"EMP-\d{6}", r"[\w.]{1,60}@intern\.example", r"(?i:blue|red)bird", r"(?:\d{3}-){2}\d{4}", r"(?<!\w)X\d{1,9}"],
)
def test_a_pattern_with_bounds_is_taken(pattern: str) -> None:
    assert own_rule("mine", pattern).pattern.pattern == pattern


def test_what_is_looked_at_beyond_a_piece_is_longer_than_any_key() -> None:
    longest = max(len(each) for some in SECRETS.values() for each in some)
    assert 10 * longest < BEYOND
