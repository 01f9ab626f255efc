"""The key set of a server, fetched when it is needed and cached."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from headgate.errors import NotAuthorized, StreamError, Unavailable
from headgate.workers.claims import decoded
from headgate.workers.signatures import key_in, keys_in

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from headgate.endpoint import Endpoint

log = logging.getLogger("headgate")

FRESH_S = 300.0  # as the server permits; a key is published 15 minutes before it signs
STALE_S = 3600.0  # while the server is away; a key that was withdrawn is valid for no longer
# Requests with unknown keys can be sent by anybody, and each would be a request to the server.
LEAST_PAUSE_S = 10.0
TIMEOUT_S = 5.0  # the sender of a webhook waits for ten seconds


class WebhookKeys:
    """The public keys by which webhooks are verified, as the server publishes them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._fetched_at = self._attempted_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def key(self, key_id: str) -> Ed25519PublicKey:
        """Return a key by its id. Raises NotAuthorized, or StreamError without a key set."""
        now = time.monotonic()
        is_fresh = now - self._fetched_at < FRESH_S
        if not is_fresh or key_id not in self._keys:
            async with self._fetching:
                await self._refresh(key_id)
        return key_in(self._keys, key_id)

    async def _refresh(self, key_id: str) -> None:
        """Fetch the keys, unless another request just did, or has tried to."""
        now = time.monotonic()
        has_key = key_id in self._keys and now - self._fetched_at < STALE_S
        if now - self._attempted_at < LEAST_PAUSE_S and self._fetched_at > now - STALE_S:
            return
        self._attempted_at = now
        try:
            self._keys = keys_in(await self._fetch())
            self._fetched_at = now
        except StreamError as failure:
            if not has_key:
                raise
            log.warning("the keys of webhooks are not fetched anew: %s", failure)

    async def _fetch(self) -> dict[str, Any]:
        try:
            async with self._endpoint.request("GET", idle_s=TIMEOUT_S) as answer:
                body = await answer.read()
        except NotAuthorized as refusal:  # of this request; the webhook may well be signed
            raise Unavailable(refusal.reason, stream=refusal.stream) from refusal
        return decoded(body, dict[str, Any], self._endpoint.shown)
