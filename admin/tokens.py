"""Read tokens that operators' programs ask for: signed with the keys as the file has them now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from admin.errors import NotTold
from gateway.access import read_tokens

if TYPE_CHECKING:
    from gateway.access.read_tokens import Made, Wish
    from gateway.settings import Settings


async def make_token(settings: Settings, wish: Wish, now: float) -> Made:
    """A token as it is wished for. Raises NotTold when it cannot be made."""
    path = settings.keys_file
    if not path:
        raise NotTold(
            409, "the settings have no keys_file: make one by headgate token keys NEW_FILE"
        )
    # Where there is a keys_file, who verifies with it has loaded this at the start; where there is
    # none, it would be 10 MB for nothing.
    from gateway.access.keys_file import load_keys

    try:
        keys = await asyncio.to_thread(load_keys, path)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        raise NotTold(503, f"the keys cannot be used: {reason}") from cause
    try:
        return read_tokens.sign(wish, keys, settings.read_token_max_age, now)
    except ValueError as refusal:
        raise NotTold(400, f"the token {refusal}") from refusal


def cookie_of(made: Made, streams: str, now: float) -> str:
    """The value of a Set-Cookie with a token; empty where no cookie can be for its streams."""
    try:
        return read_tokens.cookie(made, streams, now)
    except ValueError:
        return ""
