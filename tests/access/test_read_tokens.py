"""Read tokens: what is taken, and a table of those that nobody may come in with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.access import key_sets, read_tokens
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.access.operations import READ, Need
from headgate_gateway.access.read_tokens import ReadTokens
from headgate_gateway.access.token_guard import Verifier
from headgate_gateway.access.tokens_file import NOTHING
from headgate_gateway.errors import StartError, Unauthenticated
from headgate_gateway.features import issued_tokens
from headgate_gateway.features.issued_tokens import TokenRequest, cookie, sign
from headgate_gateway.settings import Settings
from tests.access.forging import (
    EC,
    ED,
    NOW,
    OTHER_ED,
    RSA,
    b64,
    good,
    hmac_token,
    jwks,
    key_set,
    make,
    unb64,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.access.principal import Principal

MAX_AGE = 900
REQUEST = TokenRequest("ann", "/s/chat")


def content(*keys: object) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=True) for key in keys]}).encode()  # type: ignore[attr-defined]


def written(folder: Path, data: bytes, mode: int = 0o600) -> str:
    path = folder / "keys.json"
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def parsed(folder: Path, data: bytes) -> key_sets.Keys:
    return key_sets.parse_keys_file(written(folder, data), data)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> key_sets.Keys:
    data = content(ED)
    # Another kind of key under the same id, as an attacker would like to have it.
    data = data[:-2] + b"," + jwks([EC, RSA])[len(b'{"keys": [') :]
    return parsed(tmp_path_factory.mktemp("keys"), data)


def verifier(keys: key_sets.Keys) -> Verifier:
    return Verifier([ReadTokens(lambda: keys, lambda: NOTHING, MAX_AGE)])


SAID = {
    "ver": 1,
    "jti": "t1",
    "sub": "ann",
    "streams": "/s/chat",
    "ops": ["read"],
    "iat": int(NOW),
    "exp": int(NOW) + 900,
}
HEADER = {"alg": "EdDSA", "typ": "hg-read+jwt", "kid": "ed"}


def read_token(header: dict[str, object] | None = None, **more: object) -> str:
    return make(
        {k: it for k, it in {**HEADER, **(header or {})}.items() if it is not None},
        {k: it for k, it in {**SAID, **more}.items() if it is not None},
    )


GOOD = read_token()
HEAD, PAYLOAD, SIGNATURE = GOOD.split(".")


def typed(token: str) -> str:
    """The same, but for what its header says of its kind."""
    _, payload, signed = token.split(".")
    head = json.dumps({"alg": "HS256", "typ": "hg-read+jwt", "kid": "ed"})
    return f"{b64(head.encode())}.{payload}.{signed}"


NEGATIVES: dict[str, str] = {
    "alg none": f"{b64(json.dumps({**HEADER, 'alg': 'none'}).encode())}.{PAYLOAD}.",
    "no alg": read_token({"alg": None}),
    "HS256 with the public key": typed(
        hmac_token(unb64(str(ED.as_dict(private=False)["x"])), "ed")
    ),
    "ES256, EC's key": make({**HEADER, "alg": "ES256", "kid": "ec"}, SAID, EC, "ES256"),
    "RS256, RSA's key": make({**HEADER, "alg": "RS256", "kid": "rsa"}, SAID, RSA, "RS256"),
    "Ed448": read_token({"alg": "Ed448"}),
    "another key under the id": make(HEADER, SAID, OTHER_ED),
    "another kid": read_token({"kid": "x"}),
    "no kid": read_token({"kid": None}),
    "a jwk of its own": make({**HEADER, "jwk": OTHER_ED.as_dict(private=False)}, SAID, OTHER_ED),
    "typ JWT": read_token({"typ": "JWT"}),
    "no typ": read_token({"typ": None}),
    "a JWT of an issuer": good(),
    "crit": read_token({"crit": ["exp"]}),
    "no signature": f"{HEAD}.{PAYLOAD}.",
    "another payload": f"{HEAD}.{read_token(streams='/s/*').split('.')[1]}.{SIGNATURE}",
    "no exp": read_token(exp=None),
    "exp now": read_token(exp=int(NOW), iat=int(NOW) - 60),
    "exp a text": read_token(exp=str(NOW + 1)),
    "too long": read_token(exp=int(NOW) + 901),
    "too long, from the past": read_token(iat=int(NOW) - 900, exp=int(NOW) + 1),
    "no iat": read_token(iat=None),
    "iat to come": read_token(iat=int(NOW) + 31),
    "nbf to come": read_token(nbf=int(NOW) + 31),
    "no jti": read_token(jti=None),
    "jti empty": read_token(jti=""),
    "no sub": read_token(sub=None),
    "sub empty": read_token(sub=""),
    "no ver": read_token(ver=None),
    "ver 2": read_token(ver=2),
    "ver true": read_token(ver=True),
    "no streams": read_token(streams=None),
    "streams a list": read_token(streams=["/s/chat"]),
    "streams with dots": read_token(streams="/s/../chat"),
    "streams not canonical": read_token(streams="/s/%63hat"),
    "streams with a star": read_token(streams="/*/chat"),
    "ops empty": read_token(ops=[]),
    "ops a text": read_token(ops="read"),
    "ops unknown": read_token(ops=["read", "admin"]),
    "ops null": make(HEADER, {**SAID, "ops": None}),
    "1 MB": read_token(x="x" * 1_000_000),
}
assert len(set(NEGATIVES.values())) == len(NEGATIVES), "two are the same"


@pytest.mark.parametrize("name", NEGATIVES)
async def test_each_bad_read_token_is_refused(name: str, keys: key_sets.Keys) -> None:
    judge = verifier(keys)
    with pytest.raises(Unauthenticated) as refusal:
        await judge.verify(NEGATIVES[name], NOW)
    assert refusal.value.is_refused
    assert NEGATIVES[name] not in refusal.value.detail
    assert judge.known(NEGATIVES[name], NOW) is None
    with pytest.raises(Unauthenticated):  # also where nobody has looked at its kind before
        read_tokens.verified(NEGATIVES[name], keys, MAX_AGE, NOW)


async def test_a_read_token_counts_for_its_stream_until_it_expires(keys: key_sets.Keys) -> None:
    made = sign(REQUEST, keys, MAX_AGE, NOW)
    judge = verifier(keys)
    ann = await judge.verify(made.token, NOW + 899.9)
    assert (ann.name, ann.until, made.expires) == ("ann", NOW + 900, NOW + 900)
    assert (ann.may(Need("/s/chat", READ)), ann.may(Need("/s/chat2", READ))) == (True, False)
    assert not ann.may(Need("/s/chat", frozenset({"append"})))
    assert made.token not in f"{made!r}{ann!r}{ann.proof!r}"
    assert judge.known(made.token, NOW + 899.9) is ann
    assert judge.known(made.token, NOW + 900) is None
    with pytest.raises(Unauthenticated, match="has expired"):
        await judge.verify(made.token, NOW + 900)


@pytest.mark.parametrize(
    "token",
    [
        GOOD,
        read_token(ops=None),
        make({**HEADER, "alg": "Ed25519"}, SAID, ED, "Ed25519"),
        read_token(iat=int(NOW) + 30),
    ],
    ids=["good", "read by default", "the newer name", "a clock ahead"],
)
async def test_read_tokens_of_other_libraries_are_accepted(token: str, keys: key_sets.Keys) -> None:
    assert (await verifier(keys).verify(token, NOW)).may(Need("/s/chat", READ))


UNMET: dict[str, tuple[dict[str, Any], str]] = {
    "a lifetime over the limit": (
        {"lifetime": 901},
        "must last at most 900 s, which is credentials.read_token_max_age",
    ),
    "a negative lifetime": ({"lifetime": -1}, "must last at most 900 s"),
    "a newline in the subject": ({"subject": "a\nb"}, "must have a subject"),
    "a relative path": ({"streams": "s"}, "must be a canonical path"),
    "a path that is not canonical": ({"streams": "/s/é"}, "must be a canonical path"),
    "no operations": ({"operations": ()}, "a list of operations"),
    "an unknown operation": ({"operations": ("admin",)}, "a list of operations"),
}


@pytest.mark.parametrize("fault", UNMET)
def test_an_impossible_request_is_refused_with_the_reason(fault: str, keys: key_sets.Keys) -> None:
    change, said = UNMET[fault]
    with pytest.raises(ValueError, match="must") as refusal:
        sign(REQUEST._replace(**change), keys, MAX_AGE, NOW)
    assert said in str(refusal.value)


def test_a_read_token_cookie_is_limited_to_the_path_of_its_streams(keys: key_sets.Keys) -> None:
    made = sign(REQUEST._replace(streams="/s/rooms/*"), keys, MAX_AGE, NOW)
    assert cookie(made, "/s/rooms/*", NOW) == (
        f"__Secure-headgate={made.token}; Path=/s/rooms; Max-Age=900; "
        "Secure; HttpOnly; SameSite=Strict"
    )
    assert "; Path=/;" in cookie(made, "/*", NOW)
    with pytest.raises(ValueError, match="cannot be a cookie"):
        cookie(made, "/s/a;Domain=example.com", NOW)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_a_read_token_permits_its_stream_and_no_other(name: str, other: str) -> None:
    known = key_sets.Keys(key_set(ED), ED, None)
    path, elsewhere = (f"/s/{quote(it, safe='')}" for it in (name, other))
    try:
        made = sign(TokenRequest("ann", path), known, MAX_AGE, NOW)
    except ValueError:  # dots and controls are in no path
        return
    ann = read_tokens.verified(made.token, known, MAX_AGE, NOW)
    assert ann.may(Need(path, READ))
    assert ann.may(Need(elsewhere, READ)) == (path == elsewhere)


# ---------------------------------------------------------------- the file of keys


def test_a_new_keys_file_signs_and_verifies_read_tokens(tmp_path: Path) -> None:
    data = issued_tokens.written(issued_tokens.new_keys())
    keys = parsed(tmp_path, data)
    assert len(keys.verifying) == 2
    assert keys.reader_secret is not None
    assert len(keys.reader_secret) == 32
    assert read_tokens.verified(sign(REQUEST, keys, MAX_AGE, NOW).token, keys, MAX_AGE, NOW)
    assert str(json.loads(data)["keys"][0]["d"]) not in repr(keys)


def test_after_a_rotation_the_next_key_signs_and_the_last_one_verifies(tmp_path: Path) -> None:
    first = issued_tokens.new_keys()
    second = issued_tokens.rotated(first)
    kids = [[entry["kid"] for entry in it["keys"]] for it in (first, second)]  # type: ignore[attr-defined]
    assert kids[1][0] == kids[0][1]
    assert kids[1][2:] == [kids[0][0], "reader-keys"]
    assert len(set(kids[0] + kids[1])) == 4
    keys, old = (parsed(tmp_path, issued_tokens.written(it)) for it in (second, first))
    assert read_tokens.verified(sign(REQUEST, old, MAX_AGE, NOW).token, keys, MAX_AGE, NOW)
    assert read_tokens.verified(sign(REQUEST, keys, MAX_AGE, NOW).token, old, MAX_AGE, NOW)
    third = issued_tokens.rotated(second)
    assert len(third["keys"]) == 4  # type: ignore[arg-type]


def test_the_public_keys_contain_nothing_private_and_cannot_sign(tmp_path: Path) -> None:
    content = issued_tokens.new_keys()
    data = issued_tokens.written(issued_tokens.public(content))
    keys = parsed(tmp_path, data)
    assert (len(keys.verifying), keys.signer, keys.reader_secret) == (2, None, None)
    for entry in content["keys"]:  # type: ignore[attr-defined]
        assert str(entry.get("d", entry.get("k"))).encode() not in data
    with pytest.raises(ValueError, match="keys_file has no private key"):
        sign(REQUEST, keys, MAX_AGE, NOW)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o666])
def test_a_keys_file_that_others_may_access_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, issued_tokens.written(issued_tokens.new_keys()), mode)
    with pytest.raises(StartError, match=f"chmod 600 {path}"):
        Authorities(Settings(credentials={"keys_file": path}), lambda: NOW)


@pytest.mark.parametrize(("owner", "user"), [(0, 0), (0, 7), (7, 7)])
def test_a_group_readable_keys_file_is_accepted_only_if_owned_by_root(
    monkeypatch: pytest.MonkeyPatch, owner: int, user: int
) -> None:
    held = SimpleNamespace(st_uid=owner, st_mode=0o640)
    monkeypatch.setattr(os, "stat", lambda _: held)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if owner == 0:
        key_sets.check_mode("keys.json")
        return
    with pytest.raises(ValueError, match="chmod 600"):
        key_sets.check_mode("keys.json")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no JSON Web Key Set: headgate token keys NEW_FILE makes one"),
        (b'{"keys":[]}', "has no key with a kid"),
        (content(EC), "has no key with a kid"),
        (b'{"keys":[' + content(ED)[10:-2] + b',{"kty":"oct","kid":"r","k":"AAAA"}]}', "private"),
        (content(ED).replace(b'"d": "', b'"d": "!'), "has a private key that is none"),
    ],
    ids=["empty", "none", "another kind", "short secret", "no number"],
)
def test_an_invalid_keys_file_shows_no_key(tmp_path: Path, data: bytes, said: str) -> None:
    path = written(tmp_path, data)
    with pytest.raises(StartError) as refusal:
        Authorities(Settings(credentials={"keys_file": path}), lambda: NOW)
    assert said in refusal.value.detail
    assert str(ED.as_dict(private=True)["d"]) not in refusal.value.detail


async def test_readers_end_with_their_signing_key_or_their_token(tmp_path: Path) -> None:
    path = written(tmp_path, content(ED))
    revoked = tmp_path / "tokens.toml"
    revoked.write_text("")
    settings = Settings(credentials={"keys_file": path, "tokens_file": str(revoked)})
    authorities = Authorities(settings, lambda: NOW)
    ended: list[Principal] = []
    verifier = authorities.verifier(["read-tokens"], ended.append)
    authorities.start()
    first, second = [await verifier.verify(read_token(jti=it), NOW) for it in ("t1", "t2")]
    revoked.write_text('[[revoked]]\njti = "t1"\n')
    await until(lambda: ended == [first])
    with pytest.raises(Unauthenticated, match="is revoked"):
        await verifier.verify(read_token(jti="t1"), NOW)
    (tmp_path / "new").mkdir()
    Path(written(tmp_path / "new", content(OTHER_ED))).replace(path)
    await until(lambda: ended == [first, second])
    await authorities.stop()
