"""The settings of those who may use the admin listener: people, and scripts with a token."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from gateway.settings.kinds import Kind, refuse_yes_and_no
from gateway.settings.token_hashes import (
    DIGEST,
    SHORTEST_TOKEN,
    is_token,
    read_digest,
    token_digest,
)

Role = Literal["viewer", "operator"]
NAME_KIND = "a name of at most 64 letters, digits, '-', '_', '.' and '@'"
HASH_KIND = "what headgate hash-password prints, which begins with $argon2id$"
TOKEN_KIND = (
    f"at least {SHORTEST_TOKEN} characters without blanks, or {DIGEST} and the 64 hexadecimal "
    "digits of their hash"
)
USERS_KIND = "an array of tables, each with name, role and password_hash"
TOKENS_KIND = "an array of tables, each with name, role and token"
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=\d{1,7},t=\d{1,3},p=\d{1,3}\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{16,88}"
)


def check_name(name: str) -> str:
    """A name by which a log may know somebody; raises ValueError in words that continue "it"."""
    if re.fullmatch(r"[A-Za-z0-9._@-]{1,64}", name) is None:
        raise ValueError(f"must be {NAME_KIND}")
    return name


def _check_hash(secret: SecretStr) -> SecretStr:
    if _HASH.fullmatch(secret.get_secret_value()) is None:
        raise ValueError(f"must be {HASH_KIND}")
    return secret


def _check_token(secret: SecretStr) -> SecretStr:
    token = secret.get_secret_value()
    is_plain = is_token(token) and not token.startswith(DIGEST)
    if not is_plain and read_digest(token) is None:
        raise ValueError(f"must be {TOKEN_KIND}")
    return secret


class _Admitted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(check_name), Kind(NAME_KIND)] = Field(
        description="By which sign-in and log know them."
    )
    role: Role = Field(
        description="What they may do: a viewer sees everything, an operator also appends to, "
        "closes and deletes streams."
    )

    _no_booleans = field_validator("*", mode="before")(refuse_yes_and_no)


class AdminUser(_Admitted):
    """Somebody who signs in with a password."""

    password_hash: Annotated[SecretStr, AfterValidator(_check_hash), Kind(HASH_KIND)] = Field(
        description="Hash of the password (Argon2id), which headgate hash-password prints."
    )


class AdminToken(_Admitted):
    """A script, which sends its token with each request."""

    token: Annotated[SecretStr, AfterValidator(_check_token), Kind(TOKEN_KIND)] = Field(
        description="The token, or its SHA-256."
    )

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the token."""
        token = self.token.get_secret_value()
        return read_digest(token) or token_digest(token)
