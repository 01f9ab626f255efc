"""Signed tokens (JWS in compact form): their parts and claims, read strictly."""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Final, NamedTuple

from joserfc.util import urlsafe_b64decode

from headgate_gateway.access.credentials import LONGEST_TOKEN
from headgate_gateway.access.principal import TokenHolder
from headgate_gateway.access.tokens_file import RevocationClaims
from headgate_gateway.errors import Unauthenticated

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Extensions that a verifier must understand, or that change what is signed: we support none
# (RFC 7515 section 4.1.11, RFC 7797).
_NOT_UNDERSTOOD = frozenset({"crit", "b64"})

LEEWAY_S = 30  # between the clocks of the signer and of the verifier

Json = dict[str, object]


class SignedToken(NamedTuple):
    """The parts of a token whose signature is not verified yet; `typ` is in lower case."""

    text: str
    algorithm: str
    kid: str
    typ: str
    claims: Json


def refused(why: str) -> Unauthenticated:
    """Return a refusal of a token; `why` follows "the token" and repeats nothing of it."""
    return Unauthenticated(f"the token {why}", is_refused=True)


def has_form(token: str) -> bool:
    """Return whether a token may be a signed one: three parts with dots between them."""
    return token.count(".") == 2


def parse(token: str) -> SignedToken:
    """Parse a token into its parts. Raises Unauthenticated.

    Anything that could be read in two ways is refused: padding, bits beyond the last byte, and
    duplicate JSON keys. Header fields that name a key (jku, jwk, x5u, x5c) are ignored.
    """
    if len(token) > LONGEST_TOKEN or _COMPACT.fullmatch(token) is None:
        raise refused("is no signed token in compact form")
    encoded_header, encoded_claims, _ = token.split(".")
    header, claims = _object(encoded_header), _object(encoded_claims)
    if _NOT_UNDERSTOOD & header.keys():
        raise refused("has an extension that is not understood here")
    algorithm, kid, typ = (header.get(key, "") for key in ("alg", "kid", "typ"))
    if not (isinstance(algorithm, str) and isinstance(kid, str) and isinstance(typ, str)):
        raise refused("has a header that is none")
    if not kid:
        raise refused("does not name its key (kid)")
    return SignedToken(token, algorithm, kid, typ.lower(), claims)


def load_object(data: bytes) -> Json:
    """Parse a JSON object with each key once. Raises ValueError, which repeats nothing of it."""
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_each_once, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004 - of what is sent
    return value


def listed_keys(key_set: Json) -> list[Json]:
    """Return the entries of a JSON Web Key Set that are objects."""
    listed = key_set.get("keys")
    return [it for it in listed if isinstance(it, dict)] if isinstance(listed, list) else []


def _object(part: str) -> Json:
    try:
        return load_object(urlsafe_b64decode(part.encode()))
    except ValueError:
        raise refused("has a part that is no JSON object in base64url") from None


def _each_once(pairs: list[tuple[str, object]]) -> Json:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key stands twice")
    return members


def _refuse_constant(_name: str) -> None:
    raise ValueError("no number")


LONGEST_NUMBER: Final = float(1 << 53)  # seconds since 1970 that a clock could show
LONGEST_NAME = 128  # characters of a subject, where people read it


def revocation_claims(token: SignedToken) -> RevocationClaims:
    """Return the claims by which a token can be revoked. Raises Unauthenticated."""
    payload = token.claims
    return RevocationClaims(
        token.kid, text(payload, "jti"), text(payload, "sub"), moment(payload, "iat")
    )


def moment(claims: Json, name: str) -> float | None:
    """Return a claim as a time in epoch seconds, None without it. Raises Unauthenticated."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"has an {name} that is no time")
    if not 0 <= value <= LONGEST_NUMBER:
        raise refused(f"has an {name} that is no time")
    return float(value)


def text(claims: Json, name: str) -> str | None:
    """Return a claim as text, None without it. Raises Unauthenticated."""
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise refused(f"has a {name} that is no text")
    return value


def check_times(claims: Json, now: float) -> float:
    """Return until when the claims are valid (epoch seconds). Raises Unauthenticated if not now."""
    expires = moment(claims, "exp")
    if expires is None:
        raise refused("does not say when it expires (exp)")
    if now >= expires + LEEWAY_S:
        raise refused("has expired")
    for name in ("nbf", "iat"):
        begins = moment(claims, name)
        if begins is not None and now < begins - LEEWAY_S:
            raise refused(f"counts only later ({name})")
    return expires + LEEWAY_S


def holder_of(kind: str, issuer: str, subject: str | None) -> TokenHolder:
    """Return the holder of a signed token, whose signature is right.

    Its account is unique for one subject of one issuer, and always short.
    """
    whole = repr((kind, issuer, subject)).encode("utf-8", "surrogatepass")
    account = f"{kind} {blake2b(whole, digest_size=16).hexdigest()}"
    return TokenHolder(account, name_of(subject or issuer), issuer, subject)


def name_of(subject: str) -> str:
    """Return a subject for display: short, and without characters that would control a terminal."""
    printable = "".join(it if it.isprintable() else "?" for it in subject[:LONGEST_NAME])
    return printable.encode("ascii", "backslashreplace").decode()[:LONGEST_NAME]
