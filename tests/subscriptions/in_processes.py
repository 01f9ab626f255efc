"""Requests to gateways that run in processes of their own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from tests.subscriptions.receivers import Receiver
    from tests.support.processes import Headgate

JSON = {"Content-Type": "application/json"}


async def subscribe(gateway: Headgate, at: Receiver, name: str = "s", **members: Any) -> None:
    """Create a subscription of a receiver."""
    url = f"{gateway.streams}/__ds/subscriptions/{name}"
    document = {"type": "webhook", "webhook": {"url": at.url}, **members}
    async with aiohttp.ClientSession() as session, session.put(url, json=document) as answer:
        assert answer.status == 201, await answer.text()


async def write(gateway: Headgate, method: str, name: str) -> int | None:
    """Append to a stream, or create it with content; return the status, or None if none came."""
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{gateway.streams}/{name}", data=b"[1]", headers=JSON) as it,
        ):
            await it.read()
            return it.status
    return None
