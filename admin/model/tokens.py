"""The tokens of the clients of streams, without their hashes and keys."""

from __future__ import annotations

import msgspec

from gateway.features.questions.tokens import (
    RevocationRow,
    SignedTokenRow,
    StaticTokenRow,
    TokenKeyRow,
)


class TokensView(msgspec.Struct, frozen=True, kw_only=True):
    """A page of static tokens, with the uses in all processes; the newest users of signed tokens.

    `problems` say which files of tokens and keys are not in force, and why.
    """

    tokens: tuple[StaticTokenRow, ...]
    after: str | None
    tokens_in_all: int
    signed: tuple[SignedTokenRow, ...]
    keys: tuple[TokenKeyRow, ...]
    revocations: tuple[RevocationRow, ...]
    revocations_in_all: int
    unknown: int  # refused tokens whose holder nobody knows
    tokens_file: str  # "" without one
    keys_file: str
    longest_lifetime: int  # seconds of a read token
    problems: tuple[str, ...]
