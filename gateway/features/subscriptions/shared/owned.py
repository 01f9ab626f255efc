"""The subscriptions of a route while this gateway, one of several, delivers them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.shared import mail

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from gateway.features.subscriptions.shared.stream_notes import StreamNote
    from gateway.protocol.streams.state import Change

# What another gateway has appended may be on its way for so long, before a claim finds nothing.
ON_THE_WAY_S = 0.05


class OwnedSubscriptions(RouteSubscriptions):
    """The subscriptions of one route, to which all gateways report the streams that they change."""

    compares_regularly = True  # also without a reason

    @abstractmethod
    async def apply_notes(self, notes: Mapping[str, StreamNote]) -> Collection[str]:
        """Take the streams that gateways have changed; return those that need not come again.

        Raises LogUnavailable.
        """

    @abstractmethod
    async def compare(self, note: Callable[[str, StreamNote], None]) -> None:
        """Compare all streams with what is known here, and call `note` with each that differs.

        Raises LogUnavailable.
        """

    def take_commit(self, change: Change) -> bool:  # noqa: ARG002 - for a log of our own
        """Take a commit of this gateway; return False if the stream has to be read for that."""
        return False

    def take_note(self, path: str, note: StreamNote) -> bool:  # noqa: ARG002 - for a log of our own
        """Take what another gateway reports of a stream; return False if it has to wait."""
        return False

    async def carry_out_first_writes(
        self,
        names: bytes,  # noqa: ARG002 - for origins that others write to
    ) -> mail.HandedOnResponse:
        """Store the links to streams that another gateway is about to write to."""
        return mail.NOT_CARRIED_OUT

    @override
    async def settle(self) -> None:
        await asyncio.sleep(ON_THE_WAY_S)
