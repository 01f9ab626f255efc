from __future__ import annotations

import hashlib
from math import inf
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.access.operations import Grant
from headgate_gateway.access.tokens_file import RevocationClaims, Revocations, parse_tokens
from tests.support.guarded_gateway import guarded, look_at_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.log_lines import Lines

SECRET = "canary-2f9c1e7ab04d5e6f8a9b"
HASH = "sha256:" + hashlib.sha256(SECRET.encode()).hexdigest()
OTHER = "sha256:" + "0" * 64

WHOLE = f"""
[[roles]]
name = "writer"
grants = [{{ streams = "/v1/stream/orders/*", operations = ["read", "append"] }}]

[[tokens]]
name = "billing"
token = "{HASH}"
role = "writer"
expires = 2030-01-31T12:00:00Z

[[tokens]]
name = "auditor"
token = "{OTHER}"
grants = [{{ streams = "/v1/stream/orders/1", operations = ["read"] }}]

[[revoked]]
name = "auditor"

[[revoked]]
sub = "eve"
before = "2026-11-22T00:00:00+01:00"

[[revoked]]
sub = "mallory"

[[revoked]]
jti = "t1"

[[revoked]]
kid = "k1"
"""


def test_a_tokens_file_is_parsed_into_tokens_grants_and_revocations() -> None:
    file = parse_tokens("tokens.toml", WHOLE.encode())
    billing, auditor = file.tokens.values()
    assert billing.digest == hashlib.sha256(SECRET.encode()).digest()
    assert (billing.name, billing.until) == ("billing", 1896091200.0)
    assert billing.grants == (Grant("/v1/stream/orders/*", frozenset({"read", "append"})),)
    assert auditor.until == inf
    assert auditor.grants == (Grant("/v1/stream/orders/1", frozenset({"read"})),)
    assert file.revocations.names == {"auditor"}
    assert SECRET not in repr(file)


EVE = 1795302000.0  # 2026-11-21T23:00:00Z


@pytest.mark.parametrize(
    ("kid", "token_id", "subject", "at", "is_revoked"),
    [
        ("k0", "t0", "ann", 0.0, False),
        ("k0", None, None, None, False),
        ("k1", "t0", "ann", 0.0, True),
        ("k0", "t1", "ann", 0.0, True),
        ("k0", "t0", "mallory", 1e12, True),
        ("k0", "t0", "eve", EVE - 1, True),
        ("k0", "t0", "eve", EVE, False),
        ("k0", "t0", "eve", None, True),
    ],
)
def test_only_tokens_with_the_revoked_id_key_or_subject_and_time_are_revoked(
    kid: str, token_id: str | None, subject: str | None, at: float | None, is_revoked: bool
) -> None:
    revocations = parse_tokens("tokens.toml", WHOLE.encode()).revocations
    assert revocations.hit(RevocationClaims(kid, token_id, subject, at)) == is_revoked


TOKEN = f'[[tokens]]\nname = "a"\ntoken = "{HASH}"\n'
EXPIRES = "t.toml:5: tokens[0].expires (name a)"
GRANT = "t.toml:4: tokens[0].grants[0]"
GRANTS = 'grants = [{ streams = "/a", operations = ["read"] }]\n'


MISTAKES = {
    "t.toml:1: this is not TOML: ": ["x"],
    "t.toml:1: token is not a key of a tokens file": ["[[token]]"],
    "t.toml:1: tokens must be an array of tables": ["tokens = 1"],
    "t.toml:1: tokens[0].token (name a) is missing": ["[[tokens]]\nname = 'a'\nrole = 'r'"],
    (
        "t.toml:3: tokens[0].token (name a) must be sha256: and 64 hexadecimal digits, which "
        "`headgate token hash` prints of a token: tokens themselves do not stand in this file"
    ): [f"[[tokens]]\nname = 'a'\ntoken = '{SECRET}'\n{GRANTS}"],
    "t.toml:2: tokens[0].name must": [f"[[tokens]]\nname = 'a b'\ntoken = '{HASH}'\n{GRANTS}"],
    "t.toml:1: tokens[0] (name a) must have a role or grants, and not both": [TOKEN],
    "t.toml:1: tokens[0] (name a) must have a role or grants": [TOKEN + GRANTS + "role = 'r'"],
    "t.toml:4: tokens[0].role (name a) is r, and no role has that name": [TOKEN + "role = 'r'"],
    "t.toml:6: tokens[1].name is a, as that of tokens[0] is": [TOKEN + GRANTS + TOKEN + GRANTS],
    "t.toml:7: tokens[1].token (name b) is the hash that tokens[0] has, too": [
        TOKEN + GRANTS + TOKEN.replace('"a"', '"b"') + GRANTS
    ],
    "t.toml:1: tokens[0] (name a) must have a role or grants, and not": [TOKEN + "grants = []"],
    f"{EXPIRES} must be a time": [
        TOKEN + GRANTS + "expires = 2030-01-31T12:00:00",
        TOKEN + GRANTS + "expires = 2030-01-31",
        TOKEN + GRANTS + "expires = '2030-13-31T12:00:00Z'",
        TOKEN + GRANTS + "expires = 1896091200",
    ],
    f"{GRANT}.streams (name a) must be": [
        TOKEN + GRANTS.replace("/a", "a"),
        TOKEN + GRANTS.replace("/a", "/a/../b"),
        TOKEN + GRANTS.replace("/a", "/*/b"),
    ],
    f"{GRANT}.operations (name a) must": [TOKEN + GRANTS.replace("read", "write")],
    "t.toml:1: revoked[0] must have one of name, jti": ["[[revoked]]\nsub = 'a'\njti = 'b'"],
    "t.toml:1: revoked[0] must have one of name, jti, sub and kid": ["[[revoked]]"],
    "t.toml:1: revoked[0] must have before only together with sub": [
        "[[revoked]]\njti = 'a'\nbefore = 2026-01-01T00:00:00Z"
    ],
    "t.toml:2: reader_keys.x must be a canonical path such as": ["[reader_keys]\n'x' = 1"],
    't.toml:2: reader_keys."/x" must be a whole number from 1': ["[reader_keys]\n'/x' = 0"],
    "t.toml": ["a = " + "[" * 100_000],
}


@pytest.mark.parametrize(("said", "texts"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_reported_with_its_line_and_no_secret(said: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=r"t\.toml") as refusal:
            parse_tokens("t.toml", text.encode())
        assert str(refusal.value).startswith(said), text
        assert SECRET not in repr(refusal.value)
        assert HASH not in repr(refusal.value)


def test_mistakes_in_a_tokens_file_are_reported_line_by_line_in_order() -> None:
    entry = "[[tokens]]\nexpires = 1\nname = 'ann'\nsecret = 'x'\n"
    with pytest.raises(ValueError, match=r"t\.toml") as refusal:
        parse_tokens("t.toml", f"[[revoked]]\n{entry}[[roles]]\n".encode())
    assert str(refusal.value).splitlines() == [
        "t.toml:1: revoked[0] must have one of name, jti, sub and kid.",
        "t.toml:2: tokens[0].token (name ann) is missing.",
        "t.toml:3: tokens[0].expires (name ann) must be a time with its zone, such as "
        "2030-01-31T12:00:00Z.",
        "t.toml:5: tokens[0].secret (name ann) is not a key of a tokens file.",
        "t.toml:6: roles[0].name is missing.",
        "t.toml:6: roles[0].grants is missing",
    ]


@pytest.mark.parametrize(("mistakes", "last"), [(20, "t.toml:20: "), (21, "t.toml has 1 more")])
def test_only_the_first_20_mistakes_are_reported_in_full(mistakes: int, last: str) -> None:
    with pytest.raises(ValueError, match=r"t\.toml") as refusal:
        parse_tokens("t.toml", b"[[revoked]]\n" * mistakes)
    lines = str(refusal.value).splitlines()
    assert (len(lines), lines[-1][: len(last)]) == (mistakes, last)


def test_a_tokens_file_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match=r"t\.toml is not UTF-8"):
        parse_tokens("t.toml", b"\xff")


def test_new_revocations_are_named_once_and_later_moments_of_a_subject_again() -> None:
    before = Revocations(frozenset({"ann"}), frozenset({"j1"}), frozenset(), {"eve": 5.0})
    after = Revocations(
        frozenset({"ann", "ben"}), frozenset({"j2"}), frozenset({"k"}), {"eve": 6.0, "kim": 1.0}
    )
    assert after.new_since(before) == ["token ben", "jti j2", "sub eve", "sub kim", "kid k"]
    assert after.new_since(after) == []


async def test_a_revocation_in_the_file_is_logged_with_what_it_revokes(
    tmp_path: Path, logged: Lines
) -> None:
    async with guarded(tmp_path) as gateway:
        path = tmp_path / "tokens.toml"
        path.write_text(path.read_text() + '\n[[revoked]]\nname = "ann"\n')
        await look_at_files(gateway)
    (line,) = [it for it in logged if it["event"] == "access.revoked"]
    assert "token ann" in str(line)
