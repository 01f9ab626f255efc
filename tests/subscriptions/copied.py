"""Copies of logs with their subscriptions, by the operation of `headgate data copy`."""

from __future__ import annotations

from gateway.tools.copying.log_place import LogPlace
from gateway.tools.copying.operation import CopyRequest, copy


async def copied(source: str, target: str, *, prefix: str = "", subscriptions: bool = True) -> int:
    """Copy, and return how many streams and subscriptions were refused."""
    places = LogPlace(source), LogPlace(target)
    return await copy(
        CopyRequest(
            *places,
            admin=None,
            prefix=prefix,
            names=None,
            map_file=None,
            follows=False,
            with_subscriptions=subscriptions,
            as_json=True,
        )
    )
