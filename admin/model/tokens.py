"""The tokens of the clients of streams, without their hashes and keys."""

from __future__ import annotations

from gateway.features.questions.tokens import TokenPage


class TokensView(TokenPage, frozen=True, kw_only=True, tag=False):
    """A page of tokens, with the uses in all processes.

    `problems` say which files of tokens and keys are not in force, and why.
    """

    tokens_file: str  # "" without one
    keys_file: str
    longest_lifetime: int  # seconds of a read token
    problems: tuple[str, ...]
