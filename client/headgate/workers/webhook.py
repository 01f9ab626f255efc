"""Wakes that a webhook has received, as jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.endpoint import Endpoint
from headgate.errors import check_number
from headgate.workers.job import Job, LeasedWake

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headgate.stream_requests import StreamRequests


class WebhookWake(LeasedWake, frozen=True, kw_only=True):
    """A wake as the body of a webhook has it."""

    subscription_id: str
    callback_url: str
    callback_token: str


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
    token = f"Bearer {wake.callback_token}"
    ack_at = Endpoint(wake.callback_url, authorization=token, session=base.session)
    lease = lease_s, asyncio.get_running_loop().time() + lease_s
    return Job(wake.subscription_id, wake, base, ack_at, lease, on_end)
