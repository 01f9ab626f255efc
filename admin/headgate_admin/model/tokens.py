"""The tokens of the clients of streams, without their hashes and keys, and their changes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from typing_extensions import override

from headgate_admin.model.streams import PageLimit, Target
from headgate_gateway.access.principal import LONGEST_SUBJECT
from headgate_gateway.features.questions.streams import PAGE
from headgate_gateway.features.questions.tokens import LONGEST_VALUE, RevocationKind, TokenPage
from headgate_gateway.settings.grants import Operation

LAST_MOMENT = 253_402_300_799  # the year 9999, which is the last that TOML has


class TokensView(TokenPage, frozen=True, kw_only=True, tag=False):
    """A page of tokens, with the uses in all processes.

    `problems` say which files of tokens and keys are not in force, and why.
    """

    tokens_file: str  # "" without one
    keys_file: str
    longest_lifetime: int  # seconds of a read token
    problems: tuple[str, ...]


class OfTokens(msgspec.Struct, frozen=True):
    """A page of the static tokens whose names contain a text, and the newest users of others."""

    text: str = ""
    after: str = ""
    limit: PageLimit = PAGE


class TokenWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A read token for one stream, or with `/*` at the end of `streams` for all below a path.

    `subject` is its user. `lifetime` is in seconds; by default 900, or the longest there is.
    """

    subject: Annotated[str, msgspec.Meta(max_length=LONGEST_SUBJECT)]
    streams: Target
    operations: Annotated[tuple[Operation, ...], msgspec.Meta(min_length=1, max_length=5)] = (
        "read",
    )
    lifetime: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ReadToken(msgspec.Struct, frozen=True):
    """A token, when it expires (epoch seconds), and the id by which it can be revoked.

    `cookie` is the value of a Set-Cookie with it, empty where no cookie can be for its streams.
    """

    token: str
    expires: int
    jti: str
    cookie: str

    @override
    def __repr__(self) -> str:
        return f"ReadToken(jti={self.jti!r})"


class KeyRotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The streams whose keys are rotated: one, or with `/*` at the end all below a path."""

    streams: Target


class RotatedKeys(msgspec.Struct, frozen=True):
    """The new version of streams' reader keys, which all gateways use within a second."""

    streams: str
    version: int


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens to revoke: static ones by name, signed ones by jti, sub or the kid of their key.

    With `before` (epoch seconds), only tokens of a subject that were issued earlier.
    """

    kind: RevocationKind
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_VALUE)]
    before: Annotated[int, msgspec.Meta(ge=0, le=LAST_MOMENT)] | None = None


class RevokedTokens(msgspec.Struct, frozen=True):
    """The lines that were added to the tokens_file."""

    added: str
