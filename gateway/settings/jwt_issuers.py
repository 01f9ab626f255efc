"""The settings of those whose JWTs are taken: who they are, their keys, what their tokens grant."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from gateway.settings.grants import GRANTS_KIND, GrantTemplate, some_of
from gateway.settings.hosts import HOST, PORT, check_ipv6, is_loopback, is_port
from gateway.settings.reading.kinds import ValueKind, WholeSeconds
from gateway.settings.reading.tables import Around, Table, checks, setting
from gateway.settings.reading.values import After

Algorithm = Literal[
    "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
    "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
]  # fmt: skip
ISSUERS_KIND = "an array of tables, each with issuer, audience, jwks, algorithms and grants"
TEXT_KIND = "text as it stands in the tokens"
JWKS_KIND = "an https URL, or the path of a file, of a JSON Web Key Set"
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
    """Somebody whose tokens are taken."""

    checks_defaults = True

    issuer: Annotated[str, After(_check_text), ValueKind(TEXT_KIND)] = setting(
        description="Their iss, exactly."
    )
    audience: Annotated[str, After(_check_text), ValueKind(TEXT_KIND)] = setting(
        description="The aud that is this gateway's, exactly; a token may have others, too."
    )
    jwks: Annotated[str, After(_check_jwks), ValueKind(JWKS_KIND)] = setting(
        description="Where their public keys are. A URL is asked every five minutes, and for a "
        "key that is not known yet; a file is read again when it changes."
    )
    algorithms: Annotated[
        tuple[Algorithm, ...],
        some_of(get_args(Algorithm), ALGORITHMS_KIND),
        ValueKind(ALGORITHMS_KIND),
    ] = setting(description="How they sign; of them each key has those that are its own.")
    leeway: WholeSeconds = setting(
        30, ge=0, le=300, description="How far their clock may be from this gateway's."
    )
    typ: Annotated[str, After(_check_claim), ValueKind(TYP_KIND)] = setting(
        "", description="The typ that their tokens must have; without it JWT, at+jwt or none."
    )
    grants_claim: Annotated[str, After(_check_claim), ValueKind(CLAIM_KIND)] = setting(
        "",
        description="Claim with a list of grants, each with streams and operations as here.",
    )
    grants: Annotated[tuple[GrantTemplate, ...], ValueKind(GRANTS_KIND)] = setting(
        (),
        description="What each of their tokens grants. A {claim} as a whole segment of streams is "
        "what the token has in that claim, percent-encoded; without it there is no such grant.",
    )

    @checks("grants")
    @classmethod
    def _grant_something(
        cls, grants: tuple[GrantTemplate, ...], around: Around
    ) -> tuple[GrantTemplate, ...]:
        if not grants and around.values.get("grants_claim") == "":
            raise ValueError("must be given, or grants_claim: else no token would permit anything")
        return grants

    @property
    def is_remote(self) -> bool:
        """Whether the keys are asked for at a URL."""
        return "://" in self.jwks
