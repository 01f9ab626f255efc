"""The authority for read tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.signed.read_tokens import ReadTokens

if TYPE_CHECKING:
    from gateway.access.credential_files import AuthorityParts


def authority(parts: AuthorityParts) -> ReadTokens:
    """Return the authority for the tokens that keys of the keys_file sign."""
    assert parts.keys is not None, "the kind needs keys_file"
    return ReadTokens(parts.keys, parts.revocations, parts.settings.read_token_max_age)
