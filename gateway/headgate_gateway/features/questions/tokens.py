"""Questions about the tokens in force and their use, and the answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from headgate_gateway.features.questions.streams import PAGE

RevocationKind = Literal["name", "jti", "sub", "kid"]
MOST_SIGNED = 50  # holders of signed tokens, those of the last requests
LONGEST_VALUE = 1024  # characters of what a revocation names, as the file may have them


class ListTokens(msgspec.Struct, tag=True, frozen=True):
    """A question for the tokens in force whose names contain a text, a page of them, by name."""

    text: str = ""
    after: str = ""
    limit: int = PAGE


class GrantRow(msgspec.Struct, frozen=True):
    """Operations that a token permits on some streams."""

    streams: str
    operations: tuple[str, ...]


class TokenPlace(msgspec.Struct, frozen=True):
    """An address and a user agent that tokens were used from, and when last (epoch seconds)."""

    address: str
    user_agent: str
    at: float


class TokenUse(msgspec.Struct, frozen=True):
    """The use of a holder's tokens in one process, or in all, since the start.

    `refused` are requests whose token was revoked or had expired, `forbidden` those for which its
    grants did not suffice. `places` are the newest four from which they were used; there are none
    for viewers without the right to see them.
    """

    used_at: float | None = None  # epoch seconds of the last request
    refused: int = 0
    forbidden: int = 0
    places: tuple[TokenPlace, ...] = ()


class StaticTokenRow(msgspec.Struct, frozen=True):
    """A token of the tokens_file, without its hash."""

    name: str
    grants: tuple[GrantRow, ...]  # the first of them
    grants_in_all: int
    expires_at: float | None  # epoch seconds
    is_revoked: bool
    use: TokenUse = TokenUse()


class SignedTokenRow(msgspec.Struct, frozen=True):
    """A holder of read tokens or JWTs. `subject` is None where it is too long or unprintable."""

    kind: str
    account: str
    name: str
    issuer: str
    subject: str | None
    use: TokenUse


class TokenKeyRow(msgspec.Struct, frozen=True):
    """A source of keys that verify tokens: the keys_file, or that of an issuer.

    `signs` is the id of the key that signs read tokens here.
    """

    kind: str
    issuer: str
    audience: str
    source: str
    algorithms: tuple[str, ...]
    kids: tuple[str, ...]
    signs: str = ""


class RevocationRow(msgspec.Struct, frozen=True):
    """A revocation in force; `kind` is name, jti, sub or kid."""

    kind: str
    value: str
    before: float | None = None  # epoch seconds; of a subject's tokens only those issued earlier


class TokenPage(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Tokens of the tokens_file, and where the next page begins; the newest users of signed ones.

    `unknown` are refused tokens whose holder is not known.
    """

    tokens: tuple[StaticTokenRow, ...] = ()
    after: str | None = None
    tokens_in_all: int = 0
    signed: tuple[SignedTokenRow, ...] = ()
    keys: tuple[TokenKeyRow, ...] = ()
    revocations: tuple[RevocationRow, ...] = ()  # the first of them
    revocations_in_all: int = 0
    unknown: int = 0
