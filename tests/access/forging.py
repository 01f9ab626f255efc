"""Keys, and tokens signed with them, byte by byte: also such as no library would make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from joserfc.jwk import ECKey, OKPKey, RSAKey

from headgate_gateway.access import key_sets
from headgate_gateway.access.key_sets import parse_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.access.key_sets import KeySet

NOW = 1_800_000_000.0
ISSUER, AUDIENCE = "https://id.example.com/", "streams"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
EC384 = ECKey.generate_key("P-384", {"kid": "ec384"})
EC521 = ECKey.generate_key("P-521", {"kid": "ec521"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
OTHER_ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})  # under the same id
ALL = (RSA, EC, EC384, EC521, ED)
Key = RSAKey | ECKey | OKPKey
Json = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def jwks(keys: Iterable[Key], **more: object) -> bytes:
    """What an issuer publishes of its keys."""
    return json.dumps({"keys": [{**key.as_dict(private=False), **more} for key in keys]}).encode()


def key_set(*keys: Key, algorithms: Iterable[str] | None = None) -> KeySet:
    every = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
    every += ["ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
    return parse_keys(jwks(keys), every if algorithms is None else list(algorithms))


def claims(**more: object) -> Json:
    """Those of a good token; None leaves one out."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": NOW + 600, "iat": NOW, "jti": "1"}
    return {name: it for name, it in {**usual, **more}.items() if it is not None}


def signature(signed: str, key: Key, algorithm: str) -> bytes:
    """What a key and an algorithm make of the first two parts."""
    return key_sets.Registry.algorithms[algorithm].sign(signed.encode(), key)


def make(header: object, payload: object, key: Key = ED, algorithm: str = "EdDSA") -> str:
    """A token of any header and payload: bytes as they are, the rest as JSON."""
    parts = [it if isinstance(it, bytes) else json.dumps(it).encode() for it in (header, payload)]
    signed = ".".join(map(b64, parts))
    return f"{signed}.{b64(signature(signed, key, algorithm))}"


def good(
    key: Key = ED, algorithm: str = "EdDSA", header: Json | None = None, **more: object
) -> str:
    head = {"alg": algorithm, "kid": key.kid, "typ": "JWT", **(header or {})}
    return make({k: it for k, it in head.items() if it is not None}, claims(**more), key, algorithm)


def hmac_token(secret: bytes, kid: str = "rsa", algorithm: str = "HS256") -> str:
    """A token whose "secret" is what everybody may know."""
    header = {"alg": algorithm, "kid": kid, "typ": "JWT"}
    signed = ".".join(b64(json.dumps(it).encode()) for it in (header, claims()))
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def with_signature(token: str, data: bytes) -> str:
    return f"{token.rpartition('.')[0]}.{b64(data)}"


def signature_of(token: str) -> bytes:
    return unb64(token.rpartition(".")[2])
