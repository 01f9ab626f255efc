"""The authority for static tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.static.static_tokens import StaticTokens

if TYPE_CHECKING:
    from gateway.access.credential_files import AuthorityParts


def authority(parts: AuthorityParts) -> StaticTokens:
    """Return the authority for the tokens of the tokens_file."""
    return StaticTokens(parts.tokens)
