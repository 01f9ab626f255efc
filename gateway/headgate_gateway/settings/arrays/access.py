"""The settings of the users of the admin listener: people, and scripts with a token."""

from __future__ import annotations

import base64
import re
from typing import Annotated, Literal

from headgate_gateway.settings.reading.kinds import ValueKind
from headgate_gateway.settings.reading.tables import Table, setting
from headgate_gateway.settings.reading.token_hashes import (
    DIGEST,
    SHORTEST_TOKEN,
    is_token,
    read_digest,
    token_digest,
)
from headgate_gateway.settings.reading.values import Secret, TextPattern, Validator

Role = Literal["viewer", "operator"]
NAME_KIND = "a name of at most 64 letters, digits, '-', '_', '.' and '@'"
HASH_KIND = "what headgate config hash-password prints, which begins with $argon2id$"
# As it is compiled from its sources for an older OpenSSL, or where only FIPS 140 is allowed.
NO_ARGON2 = "cryptography has no Argon2id here, which needs OpenSSL 3.2 and no FIPS mode"
TOKEN_KIND = (
    f"at least {SHORTEST_TOKEN} characters without blanks, or {DIGEST} and the 64 hexadecimal "
    "digits of their hash"
)
USERS_KIND = "an array of tables, each with name, role and password_hash"
TOKENS_KIND = "an array of tables, each with name, role and token"
_NAME = r"[A-Za-z0-9._@-]{1,64}"
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=[1-9][0-9]{0,6},t=[1-9][0-9]{0,2},p=[1-9][0-9]{0,2}"
    r"\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{16,88}"
)


def check_name(name: str) -> str:
    """Return a name that is valid in logs. Raises ValueError in words that continue "it"."""
    if re.fullmatch(_NAME, name) is None:
        raise ValueError(f"must be {NAME_KIND}")
    return name


def _check_hash(secret: Secret) -> Secret:
    text = secret.reveal()
    if _HASH.fullmatch(text) is None or not all(map(_is_base64, text.split("$")[-2:])):
        raise ValueError(f"must be {HASH_KIND}")
    memory, lanes = re.findall(r"[mp]=(\d+)", text)
    if int(memory) < 8 * int(lanes):
        raise ValueError("must have an m of at least 8 times its p")
    return secret


def _is_base64(text: str) -> bool:
    """Return whether text is bytes as base64 writes them, without padding."""
    padded = text + "=" * (-len(text) % 4)
    try:
        return base64.b64encode(base64.b64decode(padded)).decode() == padded
    except ValueError:  # one character is left
        return False


def _check_token(secret: Secret) -> Secret:
    token = secret.reveal()
    is_plain = is_token(token) and not token.startswith(DIGEST)
    if not is_plain and read_digest(token) is None:
        raise ValueError(f"must be {TOKEN_KIND}")
    return secret


class _Admitted(Table):
    name: Annotated[str, Validator(check_name), ValueKind(NAME_KIND), TextPattern(_NAME)] = setting(
        description="Name at sign-in and in the log."
    )
    role: Role = setting(
        description="What they may do: a viewer sees everything but the addresses of clients; an "
        "operator also changes streams and tokens, bans clients and reloads the settings."
    )


class AdminUser(_Admitted):
    """A person who signs in with a password."""

    password_hash: Annotated[
        Secret, Validator(_check_hash), ValueKind(HASH_KIND), TextPattern(_HASH.pattern)
    ] = setting(
        description="Hash of the password (Argon2id), which headgate config hash-password prints."
    )


class AdminToken(_Admitted):
    """A script, which sends its token with each request."""

    token: Annotated[Secret, Validator(_check_token), ValueKind(TOKEN_KIND)] = setting(
        description="The token, or its SHA-256."
    )

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the token."""
        token = self.token.reveal()
        return read_digest(token) or token_digest(token)
