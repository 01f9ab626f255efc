"""A route takes each of the kinds of tokens that its `auth` names, in whatever order."""

from __future__ import annotations

import hashlib
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from gateway.access import keys_file, read_tokens
from gateway.access.authorities import Authorities
from gateway.settings import Settings
from tests.access.forging import AUDIENCE, ED, ISSUER, NOW, good, jwks

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("tokens", "jwt", "read-tokens")
STATIC = "canary-0123456789abcdef"
DOTTED = "canary.0123456789.abcdef"  # as another maker's API keys are
KEYS = keys_file.new_keys()


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    folder = tmp_path_factory.mktemp("kinds")
    return Authorities(
        Settings(
            tokens_file=written(folder, "tokens.toml", tokens().encode()),
            keys_file=written(folder, "keys.json", keys_file.written(KEYS)),
            jwt_issuers=(
                {
                    "issuer": ISSUER,
                    "audience": AUDIENCE,
                    "jwks": written(folder, "jwks.json", jwks([ED])),
                    "algorithms": ["EdDSA"],
                    "grants": [{"streams": "/s/{sub}", "operations": ["read"]}],
                },
            ),
        ),
        lambda: NOW,
    )


def tokens() -> str:
    grants = 'grants = [{ streams = "/s/*", operations = ["read"] }]'
    made = {
        name: hashlib.sha256(token.encode()).hexdigest()
        for name, token in (("static", STATIC), ("dotted", DOTTED))
    }
    return "".join(
        f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{digest}"\n{grants}\n'
        for name, digest in made.items()
    )


def written(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize("order", [*permutations(KINDS)], ids=", ".join)
async def test_each_kind_is_taken_in_any_order(
    authorities: Authorities, tmp_path: Path, order: tuple[str, ...]
) -> None:
    path = written(tmp_path, "keys.json", keys_file.written(KEYS))
    wish = read_tokens.Wish("reader", "/s/news")
    made = read_tokens.sign(wish, keys_file.load_keys(path), 900, NOW)
    verifier = authorities.verifier(order)
    came = [await verifier.verify(it, NOW) for it in (STATIC, DOTTED, good(), made.token)]
    assert [who.name for who in came] == ["static", "dotted", "ann", "reader"]
