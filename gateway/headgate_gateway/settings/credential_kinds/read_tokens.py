"""Read tokens, which a key of `keys_file` signs."""

from __future__ import annotations

from headgate_gateway.settings.credential_kinds.declaration import CredentialKind

KIND = CredentialKind(
    name="read-tokens",
    title="a read token",
    setting="credentials.keys_file",
    make="headgate_gateway.access.authorities:read_tokens",
    rank=3,
    is_signed=True,
    owns_setting=False,  # the file also has the secret of reader keys
)
