"""The settings of credentials: where they and the keys that check them are."""

from __future__ import annotations

from typing import Annotated

from headgate_gateway.settings.arrays.jwt_issuers import ISSUERS_KIND, JwtIssuer
from headgate_gateway.settings.arrays.repeated import repeated
from headgate_gateway.settings.reading.kinds import FilePath, ValueKind, WholeSeconds
from headgate_gateway.settings.reading.reload_effects import CREDENTIALS, NEXT
from headgate_gateway.settings.reading.tables import Section, ValueContext, checks, setting
from headgate_gateway.settings.reading.units import DAY_S
from headgate_gateway.settings.reading.values import Mistaken


class CredentialSettings(Section):
    """The settings of the credentials of clients."""

    tokens_file: FilePath = setting(
        "",
        description="TOML file of static tokens with their grants, and of revocations; it is read "
        "again when it changes. A relative path begins at the working directory.",
        reload=CREDENTIALS,
    )
    keys_file: FilePath = setting(
        "",
        description="JSON Web Key Set of the keys that sign and verify read tokens, which headgate "
        "token keys makes; it is read again when it changes. A relative path begins at the working "
        "directory.",
        reload=CREDENTIALS,
    )
    # A read token in a link or cookie works for anybody who gets hold of it, so it lasts briefly.
    read_token_max_age: WholeSeconds = setting(
        900,
        ge=1,
        le=DAY_S,
        description="How long a read token may last at most.",
        reload=NEXT,
    )
    jwt_issuers: Annotated[tuple[JwtIssuer, ...], ValueKind(ISSUERS_KIND)] = setting(
        (), longest=16, description="Issuers whose JWTs are accepted.", reload=CREDENTIALS
    )

    @checks("jwt_issuers")
    @classmethod
    def _check_issuers_differ(
        cls, issuers: tuple[JwtIssuer, ...], _around: ValueContext
    ) -> tuple[JwtIssuer, ...]:
        twice = [*repeated(issuers, "issuer", lambda one: (one.issuer,), "credentials.jwt_issuers")]
        if twice:
            raise Mistaken(twice)
        return issuers
