"""The settings of subscriptions: what one client may have."""

from __future__ import annotations

from headgate_gateway.settings.reading.kinds import Count
from headgate_gateway.settings.reading.reload_effects import NEXT
from headgate_gateway.settings.reading.tables import Section, setting


class SubscriptionSettings(Section):
    """The settings of subscriptions, on all routes."""

    # Each has a row in the log, 2 KiB in memory, and at most one delivery under way.
    max_per_client: Count = setting(
        1_000,
        ge=0,
        le=1_000_000,
        reload=NEXT,
        description="Most subscriptions of one principal on a route; all clients without a "
        "credential count as one.",
    )
