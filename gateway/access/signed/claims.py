"""The claims of a signed token about its holder and its times."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from gateway.access.revocations import RevocationClaims
from gateway.access.signed.jws import refused
from gateway.access.uses.credential_uses import TokenHolder

if TYPE_CHECKING:
    from gateway.access.signed.jws import Json, SignedToken

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


def check_times(claims: Json, leeway: float, now: float) -> float:
    """Return until when the claims are valid (epoch seconds). Raises Unauthenticated if not now."""
    expires = moment(claims, "exp")
    if expires is None:
        raise refused("does not say when it expires (exp)")
    if now >= expires + leeway:
        raise refused("has expired")
    for name in ("nbf", "iat"):
        begins = moment(claims, name)
        if begins is not None and now < begins - leeway:
            raise refused(f"counts only later ({name})")
    return expires + leeway


def account_of(kind: str, issuer: str, subject: str | None) -> str:
    """Return the account of a subject: unique for one subject of one issuer, and always short."""
    whole = repr((kind, issuer, subject)).encode("utf-8", "surrogatepass")
    return f"{kind} {blake2b(whole, digest_size=16).hexdigest()}"


def holder_of(kind: str, issuer: str, subject: str | None) -> TokenHolder:
    """Return the holder of a signed token, whose signature is right."""
    return TokenHolder(
        account_of(kind, issuer, subject), name_of(subject or issuer), issuer, subject
    )


def name_of(subject: str) -> str:
    """Return a subject for display: short, and without characters that would control a terminal."""
    printable = "".join(it if it.isprintable() else "?" for it in subject[:LONGEST_NAME])
    return printable.encode("ascii", "backslashreplace").decode()[:LONGEST_NAME]
