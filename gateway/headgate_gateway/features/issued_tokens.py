"""Read tokens that commands and the console issue, and the files of keys that sign them."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from typing_extensions import override

from headgate_gateway.access.credentials import LONGEST_TOKEN
from headgate_gateway.access.operations import grant_of
from headgate_gateway.access.principal import LONGEST_SUBJECT
from headgate_gateway.access.read_tokens import ALGORITHM, TYP, VERSION
from headgate_gateway.access.signed_tokens import listed_keys
from headgate_gateway.protocol.http.forwarding import READER_COOKIE
from headgate_gateway.settings.grants import BELOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.access.key_sets import Keys
    from headgate_gateway.access.operations import Operation
    from headgate_gateway.access.signed_tokens import Json

USUAL_S = 900
SECRET_BYTES = 32  # of the secret of reader keys
READER_KID: Final = "reader-keys"


class TokenRequest(NamedTuple):
    """A request for a token; `lifetime` is in seconds, None for the usual one."""

    subject: str
    streams: str
    operations: Sequence[Operation] = ("read",)
    lifetime: int | None = None


class IssuedToken(NamedTuple):
    """A token, when it expires (epoch seconds), and the id by which it can be revoked."""

    token: str
    expires: int
    token_id: str

    @override
    def __repr__(self) -> str:
        return f"IssuedToken({self.token_id!r}, expires={self.expires})"


def sign(request: TokenRequest, keys: Keys, max_age: int, now: float) -> IssuedToken:
    """Return a token as requested. Raises ValueError in words that follow "the token"."""
    if keys.signer is None:
        raise ValueError("cannot be signed: credentials.keys_file has no private key")
    if not 0 < len(request.subject) <= LONGEST_SUBJECT or not request.subject.isprintable():
        raise ValueError(f"must have a subject of at most {LONGEST_SUBJECT} visible characters")
    lifetime = min(USUAL_S, max_age) if request.lifetime is None else request.lifetime
    if not 0 < lifetime <= max_age:
        raise ValueError(f"must last at most {max_age} s, which is credentials.read_token_max_age")
    grant_of(request.streams, [*request.operations])
    issued = int(now)
    unsigned = IssuedToken("", issued + lifetime, secrets.token_urlsafe(12))
    payload: Json = {
        "ver": VERSION,
        "jti": unsigned.token_id,
        "sub": request.subject,
        "streams": request.streams,
        "ops": sorted(set(request.operations)),
        "iat": issued,
        "exp": unsigned.expires,
    }
    header: Json = {"alg": ALGORITHM, "typ": TYP, "kid": keys.signer.kid}
    token = keys.sign(header, payload)
    if len(token) > LONGEST_TOKEN:
        raise ValueError("would be too long for a header")
    return unsigned._replace(token=token)


def cookie(issued: IssuedToken, streams: str, now: float) -> str:
    """Return a Set-Cookie value for these streams that no other site and no script can use.

    Raises ValueError in words that follow "the token".
    """
    path = streams.removesuffix(BELOW) or "/"
    if ";" in path:  # it ends an attribute
        raise ValueError("cannot be a cookie: the path has a ; in it")
    return (
        f"{READER_COOKIE}={issued.token}; Path={path}; "
        f"Max-Age={max(0, issued.expires - int(now))}; Secure; HttpOnly; SameSite=Strict"
    )


# The files of keys


def new_keys() -> Json:
    """Make a file's content: a key that signs, the one that will be next, and a secret."""
    from joserfc.jwk import OctKey

    secret = OctKey.generate_key(8 * SECRET_BYTES)
    reader = secret.as_dict(private=True, kid=READER_KID)
    return {"keys": [_new_key(), _new_key(), reader]}


def rotated(content: Json) -> Json:
    """Rotate the content: the next key signs, and the one before it still verifies.

    The next one was published all the while, so verifiers know it already. A key that signs no more
    is of use to a thief alone, and loses its private half.
    """
    listed = listed_keys(content)
    signing = [entry for entry in listed if entry.get("kty") == "OKP"]
    others = [entry for entry in listed if entry.get("kty") != "OKP"]
    if len(signing) < 2 or "d" not in signing[1]:
        raise ValueError("has no second private key, which would be the next")
    retired = {name: value for name, value in signing[0].items() if name != "d"}
    return {"keys": [signing[1], _new_key(), retired, *others]}


def public(content: Json) -> Json:
    """Return the content for a process that only verifies: no private part, and no secret."""
    listed = [entry for entry in listed_keys(content) if entry.get("kty") == "OKP"]
    public_names = ("kty", "crv", "kid", "x", "alg", "use")
    return {
        "keys": [{name: entry[name] for name in public_names if name in entry} for entry in listed]
    }


def written(content: Json) -> bytes:
    """Return the content as the file has it."""
    return json.dumps(content, indent=2).encode() + b"\n"


def _new_key() -> Json:
    from joserfc.jwk import OKPKey  # 10 MB

    key = OKPKey.generate_key("Ed25519")
    kid = key.thumbprint()[:16]
    return {**key.as_dict(private=True), "kid": kid, "alg": "EdDSA", "use": "sig"}
