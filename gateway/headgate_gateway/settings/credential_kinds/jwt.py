"""JWTs of the issuers in `jwt_issuers`."""

from __future__ import annotations

from headgate_gateway.settings.credential_kinds.declaration import CredentialKind

KIND = CredentialKind(
    name="jwt",
    title="a JWT of an issuer",
    setting="credentials.jwt_issuers",
    make="headgate_gateway.access.authorities:jwt_issuers",
    rank=2,
    has_generic_format=True,  # two dots
    is_signed=True,
)
