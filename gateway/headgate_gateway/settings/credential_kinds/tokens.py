"""Static tokens, whose hashes are in `tokens_file`."""

from __future__ import annotations

from headgate_gateway.settings.credential_kinds.declaration import CredentialKind

KIND = CredentialKind(
    name="tokens",
    title="a token of the tokens file",
    setting="credentials.tokens_file",
    make="headgate_gateway.access.authorities:static_tokens",
    rank=1,
    owns_setting=False,  # the file also has revocations and versions of reader keys
)
