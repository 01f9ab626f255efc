"""The authority for JWTs of issuers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.signed.jwt_issuers import JwtIssuers

if TYPE_CHECKING:
    from gateway.access.credential_files import AuthorityParts


def authority(parts: AuthorityParts) -> JwtIssuers:
    """Return the authority for the JWTs of all issuers, whose keys it watches."""
    issuers = {
        one.issuer: (one, parts.files.keys_of(one, f"jwt_issuers[{index}].jwks"))
        for index, one in enumerate(parts.settings.jwt_issuers)
    }
    return JwtIssuers(issuers, parts.revocations)
