"""The changes of operators to tokens, each with its line in the audit log, without any token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.access.audit import audited

if TYPE_CHECKING:
    from admin.credentials.credentials import ConsoleCredentials
    from admin.model.viewer import Viewer
    from gateway.features.issued_tokens import IssuedToken, TokenRequest
    from gateway.features.tokens_file_changes import RevocationEntry


async def issue(
    credentials: ConsoleCredentials, request: TokenRequest, by: Viewer
) -> tuple[IssuedToken, str]:
    """Return a read token, and the value of a Set-Cookie with it. Raises NotTold."""
    with audited(by, "token", "", request.streams) as logged:
        logged["subject"] = request.subject
        issued, cookie = await credentials.make_token(request)
        logged |= {"jti": issued.token_id, "expires": issued.expires}
    return issued, cookie


async def revoke(
    credentials: ConsoleCredentials, entry: RevocationEntry, by: Viewer
) -> tuple[str, ...]:
    """Revoke tokens; return sentences on caches that still answer. Raises NotTold.

    What was refused is not logged: somebody may have entered a token.
    """
    with audited(by, "revoke", "", "") as logged:
        logged["kind"] = entry.kind
        warnings = await credentials.revoke(entry)
        logged |= {"stream": f"{entry.kind} {entry.value}", "value": entry.value}
    return warnings
