"""The settings of subscriptions: how their receivers reach us, and what one client may have."""

from __future__ import annotations

from gateway.settings.reading import files
from gateway.settings.reading.kinds import Count, Storage
from gateway.settings.reading.reload_effects import NEXT, SET_UP_ANEW
from gateway.settings.reading.tables import Section, ValueContext, checks, setting


class SubscriptionSettings(Section):
    """The settings of subscriptions, on all routes; a URL alone is their `storage`."""

    short = "storage"

    storage: Storage = setting(
        "",
        reload=SET_UP_ANEW,
        description="Log that stores subscriptions to the streams of the only route, if its origin "
        "is http(s); with routes, each has its own. Several gateways, or workers, share one in "
        "Redis. Empty passes requests for them on.",
    )
    # Each has a row in the log, 2 KiB in memory, and at most one delivery under way.
    max_per_client: Count = setting(
        1_000,
        ge=0,
        le=1_000_000,
        reload=NEXT,
        description="Most subscriptions of one principal on a route; all clients without a "
        "credential count as one.",
    )

    @checks("storage")
    @classmethod
    def _check_log(cls, place: str, context: ValueContext) -> str:
        files.check_place(place, context.look)
        return place
