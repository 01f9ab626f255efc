"""The settings of JWT issuers: their names, their keys, and what their tokens grant."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from headgate.hosts import HOST, PORT, check_ipv6, is_loopback, is_port
from headgate_gateway.settings.grants import GRANTS_KIND, GrantTemplate, some_of
from headgate_gateway.settings.reading.kinds import AS_TEXT, FILE_KIND, ValueKind
from headgate_gateway.settings.reading.tables import Table, ValueContext, checks, setting
from headgate_gateway.settings.reading.values import Validator

Algorithm = Literal[
    "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
    "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
]  # fmt: skip
ISSUERS_KIND = "an array of tables, each with issuer, audience, jwks, algorithms and grants"
TEXT_KIND = "text as it stands in the tokens"
JWKS_KIND = f"an https URL, or {FILE_KIND}, of a JSON Web Key Set"
ALGORITHMS_KIND = (
    "a list of signature algorithms, out of ES256, ES384, ES512, Ed25519, EdDSA and RS or PS with "
    "256, 384 or 512"
)
CLAIM_KIND = "the name of a claim"
TYP_KIND = "the typ of a token's header, such as at+jwt"
_URL = re.compile(rf"(https?)://{HOST}{PORT}(/[!-~]*)?")


def _check_text(text: str) -> str:
    if re.fullmatch(r"[!-~]{1,1024}", text) is None:
        raise ValueError(f"must be {TEXT_KIND}")
    return text


def _check_jwks(jwks: str) -> str:
    if not jwks or "\0" in jwks:
        raise ValueError(f"must be {JWKS_KIND}")
    if "://" not in jwks:
        return jwks
    match = _URL.fullmatch(jwks)
    if match is None or "#" in jwks or not is_port(int((match["port"] or ":443")[1:])):
        raise ValueError(f"must be {JWKS_KIND}, without a user in it")
    if match["ipv6"] is not None:
        check_ipv6(match["ipv6"])
    if match[1] == "http" and not is_loopback(urlsplit(jwks).hostname or ""):
        raise ValueError("must be https: who changes the answer would sign tokens")
    return jwks


def _check_claim(name: str) -> str:
    if re.fullmatch(r"[!-~]{0,256}", name) is None:
        raise ValueError(f"must be {CLAIM_KIND}")
    return name


class JwtIssuer(Table):
    """An issuer whose tokens are accepted."""

    checks_defaults = True

    issuer: Annotated[str, Validator(_check_text), ValueKind(TEXT_KIND)] = setting(
        description="The exact iss of the issuer's tokens."
    )
    audience: Annotated[str, Validator(_check_text), ValueKind(TEXT_KIND)] = setting(
        description="The exact aud for this gateway; a token may have others, too."
    )
    jwks: Annotated[str, Validator(_check_jwks), ValueKind(JWKS_KIND)] = setting(
        description=(
            "Where the issuer's public keys are. A URL is requested every five "
            "minutes, and for an unknown key; a file is read again when it changes."
        )
    )
    algorithms: Annotated[
        tuple[Algorithm, ...],
        *AS_TEXT,
        some_of(get_args(Algorithm), ALGORITHMS_KIND),
        ValueKind(ALGORITHMS_KIND),
    ] = setting(
        description="Accepted signature algorithms; each key is used with those that fit it."
    )
    typ: Annotated[str, Validator(_check_claim), ValueKind(TYP_KIND)] = setting(
        "", description="The typ that tokens must have; without it JWT, at+jwt or none."
    )
    grants_claim: Annotated[str, Validator(_check_claim), ValueKind(CLAIM_KIND)] = setting(
        "",
        description="Claim with a list of grants, each with streams and operations like those of "
        "grants.",
    )
    grants: Annotated[tuple[GrantTemplate, ...], ValueKind(GRANTS_KIND)] = setting(
        (),
        description="What each token grants. A {claim} as a whole segment of streams is replaced "
        "by the value of that claim, percent-encoded; a token without the claim has no such grant.",
    )

    @checks("grants")
    @classmethod
    def _check_grants(
        cls, grants: tuple[GrantTemplate, ...], context: ValueContext
    ) -> tuple[GrantTemplate, ...]:
        if not grants and context.values.get("grants_claim") == "":
            raise ValueError("must be given, or grants_claim: else no token would permit anything")
        return grants

    @property
    def is_remote(self) -> bool:
        """True when the keys are fetched from a URL."""
        return "://" in self.jwks
