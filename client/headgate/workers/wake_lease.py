"""The lease of a claimed wake, which is extended until it ends or is found to be lost."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import TYPE_CHECKING

import msgspec

from headgate.endpoint import Endpoint
from headgate.errors import Fenced, StreamError
from headgate.retries import Backoff, Retries
from headgate.workers.claims import AckResult, decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import aiohttp

    from headgate.workers.claims import ClaimedWake

log = logging.getLogger("headgate")

# The present wake is another one, or there is none any more.
LOST = frozenset({"FENCED", "TOKEN_INVALID", "TOKEN_EXPIRED", "SUBSCRIPTION_NOT_FOUND"})
JSON = {"Content-Type": "application/json"}
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0  # a lease may be as short as a second
RESPONSE_TIMEOUT_S = 10.0
RELEASE_FOR_S = 5.0  # a lease that cannot be released in this time expires by itself
EXTENSIONS = 3  # in the time of a lease: one that fails is repeated in time


class WakeLease:
    """The lease of one wake, by which it is acknowledged, extended and released."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        claim: ClaimedWake,
        claimed_at: float,
        *,
        is_webhook: bool = False,
    ) -> None:
        """`url` is that of the subscription; the token of the claim is the credential there.

        If the wake `is_webhook`, it is the callback, where a request without acks is a release.
        """
        control = Endpoint(url, authorization=f"Bearer {claim.token}", session=session)
        ack, release = control, control
        if not is_webhook:
            ack = control.beside(f"{url}/ack")
            release = control.beside(f"{url}/release")
        self._ack_at, self._release_at = ack, release
        self._claim = claim
        self._lease_s = claim.lease_ttl_ms / 1000
        self._until = claimed_at + self._lease_s  # by the clock of the event loop
        self._extension: asyncio.Task[None] | None = None
        self._has_ended = False
        self.is_lost = False
        self.on_lost: Callable[[], None] | None = None

    @property
    def is_open(self) -> bool:
        """True until the lease is ended or lost."""
        return not self._has_ended and not self.is_lost

    def start(self) -> None:
        """Extend the lease from now on."""
        self._extension = asyncio.get_running_loop().create_task(self._extend())

    async def ack(self, acks: Mapping[str, str]) -> None:
        """Acknowledge the offsets, and extend the lease. Raises Fenced."""
        self._check_open()
        await self._send(acks, is_done=False)

    async def finish(self, acks: Mapping[str, str]) -> None:
        """Acknowledge the offsets, and end the lease. Raises Fenced."""
        self._check_open()
        await self._stop_extending()
        await self._send(acks, is_done=True)
        self._has_ended = True

    async def release(self) -> None:
        """End the lease, so that the wake comes again; nothing happens if it is over."""
        if not self.is_open:
            return
        self._has_ended = True
        await self._stop_extending()
        await self._request(self._release_at, self._body({}, is_done=True), RELEASE_FOR_S)

    def _check_open(self) -> None:
        if not self.is_open:
            reason = "has been lost" if self.is_lost else "has ended"
            raise Fenced(f"the lease of the job {reason}", stream=self._ack_at.shown)

    async def _extend(self) -> None:
        longest_s = self._lease_s / EXTENSIONS
        pauses = Backoff(longest_s, longest_s, random.random)
        while True:
            await asyncio.sleep(pauses.next_s())
            try:
                await self._send({}, is_done=False)
            except Fenced:
                return
            except StreamError as refusal:
                self._lose(refusal)
                return

    async def _stop_extending(self) -> None:
        extension, self._extension = self._extension, None
        if extension is not None:
            extension.cancel()
            await asyncio.wait([extension])

    async def _send(self, acks: Mapping[str, str], *, is_done: bool) -> None:
        await self._request(self._ack_at, self._body(acks, is_done=is_done))

    def _body(self, acks: Mapping[str, str], *, is_done: bool) -> bytes:
        return msgspec.json.encode(
            {
                "wake_id": self._claim.wake_id,
                "generation": self._claim.generation,
                "acks": [{"stream": path, "offset": offset} for path, offset in acks.items()],
                "done": is_done,
            }
        )

    async def _request(self, endpoint: Endpoint, body: bytes, longest_s: float = math.inf) -> None:
        """Send a request until it succeeds, the time is over, or the lease must be over."""
        clock = asyncio.get_running_loop().time
        # A time-out must leave time for another attempt.
        idle_s = min(RESPONSE_TIMEOUT_S, self._lease_s / 2)

        async def attempt() -> None:
            began = clock()
            async with endpoint.request("POST", headers=JSON, body=body, idle_s=idle_s) as answer:
                if answer.status != 204:
                    decoded(await answer.read(), AckResult, endpoint.shown)
            self._until = began + self._lease_s

        left_s = min(max(0.0, self._until - clock()), longest_s)
        waits = FIRST_WAIT_S, LONGEST_WAIT_S
        try:
            await Retries(left_s, waits, log.warning, hurries=True).run(attempt)
        except StreamError as refusal:
            if refusal.code not in LOST:
                raise
            self._lose(refusal)
            raise Fenced(f"the lease of the job was lost: {refusal}") from refusal

    def _lose(self, refusal: StreamError) -> None:
        if self.is_lost or self._has_ended:
            return
        self.is_lost = True
        log.warning("the lease of a job was lost: %s", refusal)
        if self.on_lost is not None:
            self.on_lost()
