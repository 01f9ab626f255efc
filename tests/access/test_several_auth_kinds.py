"""A route takes each of the kinds of tokens that its `auth` names, in whatever order."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.access import key_sets
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.features import issued_tokens
from headgate_gateway.settings import Settings
from tests.access.forging import AUDIENCE, ED, ISSUER, NOW, good, jwks
from tests.support.tokens_files import static_token

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("tokens", "jwt", "read-tokens")
STATIC = "canary-0123456789abcdef"
DOTTED = "canary.0123456789.abcdef"  # as another maker's API keys are
OTHER = "https://other.example.com/"
KEYS = issued_tokens.new_keys()


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    folder = tmp_path_factory.mktemp("kinds")
    return Authorities(
        Settings(
            credentials={
                "tokens_file": written(folder, "tokens.toml", tokens().encode()),
                "keys_file": written(folder, "keys.json", issued_tokens.written(KEYS)),
                "jwt_issuers": tuple(
                    {
                        "issuer": issuer,
                        "audience": AUDIENCE,
                        "jwks": written(folder, "jwks.json", jwks([ED])),
                        "algorithms": ["EdDSA"],
                        "grants": [{"streams": "/s/{sub}", "operations": ["read"]}],
                    }
                    for issuer in (ISSUER, OTHER)
                ),
            }
        ),
        lambda: NOW,
    )


def tokens() -> str:
    return static_token("static", STATIC, "/s/*") + static_token("dotted", DOTTED, "/s/*")


def written(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    path.chmod(0o600)
    return str(path)


def read_token(folder: Path, subject: str) -> str:
    keys = key_sets.load_keys(written(folder, "keys.json", issued_tokens.written(KEYS)))
    return issued_tokens.sign(issued_tokens.TokenRequest(subject, "/s/news"), keys, 900, NOW).token


@pytest.mark.parametrize("order", [*permutations(KINDS)], ids=", ".join)
async def test_a_route_accepts_each_kind_of_token_in_any_order_of_auth(
    authorities: Authorities, tmp_path: Path, order: tuple[str, ...]
) -> None:
    tokens = (STATIC, DOTTED, good(), read_token(tmp_path, "reader"))
    verifier = authorities.verifier(order)
    came = [await verifier.verify(it, NOW) for it in tokens]
    assert [who.name for who in came] == ["static", "dotted", "ann", "reader"]


async def test_equal_names_of_different_token_kinds_and_issuers_are_separate_accounts(
    authorities: Authorities, tmp_path: Path
) -> None:
    """Else one could use up what another may do, or a name could be chosen for it."""
    verifier = authorities.verifier(KINDS)
    long = "x" * 128  # as much as is shown of a name
    tokens = [
        STATIC,
        read_token(tmp_path, "static"),
        *(good(iss=issuer, sub=sub) for issuer in (ISSUER, OTHER) for sub in ("static", ISSUER)),
        *(good(sub=long + end) for end in ("", "a", "b")),
        *(good(iss=issuer, sub=None, grants=[]) for issuer in (ISSUER, OTHER)),
    ]
    came = [await verifier.verify(it, NOW) for it in tokens]
    assert {who.name for who in came} == {"static", ISSUER, OTHER, long}
    assert len({who.account for who in came}) == len(tokens)
    again = await verifier.verify(good(sub="static", jti="2"), NOW)
    assert again.account == came[2].account
