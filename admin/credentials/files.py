"""Read tokens, new reader keys and revocations, by the files of keys and tokens as they are now."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from admin.errors import ConsoleError
from admin.model.tokens import ReadToken, RevokedTokens
from gateway.features import issued_tokens
from gateway.protocol.http.paths import MAX_PATH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from admin.model.tokens import Revocation, TokenWish
    from gateway.settings import Settings

F = TypeVar("F")


async def make_token(settings: Settings, wish: TokenWish, now: float) -> ReadToken:
    """Make the read token that was asked for. Raises ConsoleError if that is impossible."""
    path = settings.credentials.keys_file
    if not path:
        raise ConsoleError(
            409,
            "the settings have no credentials.keys_file: make one by headgate token keys NEW_FILE",
        )
    # Where there is a keys_file, who verifies with it has loaded this at the start; where there is
    # none, it would be 10 MB for nothing.
    from gateway.access.key_sets import load_keys

    try:
        keys = await asyncio.to_thread(load_keys, path)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        raise ConsoleError(503, f"the keys cannot be used: {reason}") from cause
    request = issued_tokens.TokenRequest(wish.subject, wish.streams, wish.operations, wish.lifetime)
    try:
        issued = issued_tokens.sign(request, keys, settings.credentials.read_token_max_age, now)
    except ValueError as refusal:
        raise ConsoleError(400, f"the token {refusal}") from refusal
    try:
        cookie = issued_tokens.cookie(issued, wish.streams, now)
    except ValueError:  # no cookie can be for these streams
        cookie = ""
    return ReadToken(issued.token, issued.expires, issued.token_id, cookie)


_CHANGING = asyncio.Lock()  # each change reads the file, changes and replaces it


async def rotate_keys(settings: Settings, streams: str) -> int:
    """Give streams other reader keys, by the tokens_file. Raises ConsoleError if that fails."""
    from gateway.access.token_findings import guarded_routes, meets
    from gateway.features.tokens_file_changes import rotate_file
    from gateway.settings.grants import check_pattern

    try:
        check_pattern(streams)
    except ValueError as refusal:
        raise ConsoleError(400, f"streams {refusal}") from refusal
    routes = guarded_routes(settings)
    if not any(route.has_reader_keys and meets(streams, route.prefix) for route in routes):
        raise ConsoleError(
            404, f"{streams[:MAX_PATH_BYTES]} is below no route with reader_keys = on"
        )
    path = _tokens_file(settings, "the versions of reader keys")
    instead = "use headgate token rotate where it can be written"
    return await _change(path, partial(rotate_file, path, streams, routes), instead)


async def revoke(settings: Settings, revocation: Revocation) -> RevokedTokens:
    """Add a revocation to the tokens_file, which every process with the file uses in a second.

    Raises ConsoleError, with the lines to add if the file cannot be written.
    """
    from gateway.access.token_findings import guarded_routes
    from gateway.features.tokens_file_changes import RevocationEntry, revoke_in_file

    entry = RevocationEntry(revocation.kind, revocation.value, revocation.before)
    try:
        entry.check()
    except ValueError as refusal:
        raise ConsoleError(400, f"{refusal}") from refusal
    path = _tokens_file(settings, "revocations")
    instead = f"add this to it where it can be written:\n{entry.text}"
    change = partial(revoke_in_file, path, entry, guarded_routes(settings))
    return RevokedTokens(entry.text, await _change(path, change, instead))


def _tokens_file(settings: Settings, content: str) -> str:
    if not settings.credentials.tokens_file:
        raise ConsoleError(
            409, f"the settings have no credentials.tokens_file, in which {content} would stand"
        )
    return settings.credentials.tokens_file


async def _change(path: str, change: Callable[[], F], instead: str) -> F:
    """Change the file in a thread, one after the other. Raises ConsoleError."""
    async with _CHANGING:
        try:
            return await asyncio.to_thread(change)
        except OSError as cause:
            raise ConsoleError(
                503, f"{path} cannot be replaced: {cause.strerror}; {instead}"
            ) from cause
        except ValueError as refusal:
            raise ConsoleError(409, f"{refusal}") from refusal
