"""The subscriptions of a route to an origin, as the route itself uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.runtime.route import SubscriptionsLike

if TYPE_CHECKING:
    from gateway.protocol.streams.reach import TailBound
    from gateway.runtime.writes import Write
    from gateway.subscriptions.engine import SubscriptionRules


class OriginSubscriptionsLike(SubscriptionsLike, Protocol):
    """The subscriptions of one route to an origin, before which one or several gateways stand."""

    def renew(self, rules: SubscriptionRules) -> None:
        """Follow new settings."""

    async def before_write(self, path: str, *, creates_empty: bool) -> None:
        """Store the links to a stream, if it is written to for the first time.

        Raises LogUnavailable.
        """

    def on_write(self, write: Write) -> None:
        """Take a write through this gateway; called before its client gets the answer."""

    def on_refusal(self, path: str) -> None:
        """Take a write that the origin has refused, perhaps to a stream that does not exist."""

    def on_tail(self, path: str, tail: TailBound) -> None:
        """Take the end of a stream that a read through this gateway has shown."""
