"""Wakes that a webhook has received, as jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import msgspec
from typing_extensions import override

from headgate.errors import StreamError, check_number
from headgate.workers.job import Job, LeasedWake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headgate.stream_requests import StreamRequests


class WebhookWake(LeasedWake, frozen=True, kw_only=True):
    """A wake as the body of a webhook has it."""

    subscription_id: str
    callback_url: str
    callback_token: str


class WebhookJob(Job):
    """The job of a wake that may be over: a webhook's request can be recorded, and sent again."""

    @override
    async def __aenter__(self) -> Self:
        """Extend the lease before the block; without it, the block has nothing to do."""
        if not self._is_interrupted:
            try:
                await self._send({})
            except StreamError as refusal:
                self._lose(refusal)
            except BaseException:  # such as a cancellation: no end of a block would release it
                await self._give_back()
                self._on_end(self)
                raise
        return await super().__aenter__()


def job_of(
    document: Mapping[str, Any],
    base: StreamRequests,
    lease_s: float,
    on_end: Callable[[Job], None],
) -> Job:
    """Return the job of a wake. Raises ValueError."""
    check_number("lease_ttl", lease_s, 1)
    try:
        wake = msgspec.convert(document, WebhookWake)
    except msgspec.ValidationError as cause:
        raise ValueError(f"this is not the body of a webhook: {cause}") from cause
    ack_at = base.with_token(wake.callback_url, wake.callback_token)
    lease = lease_s, asyncio.get_running_loop().time() + lease_s
    return WebhookJob(wake.subscription_id, wake, base, ack_at, lease, on_end)
