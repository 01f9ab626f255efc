"""A subscription: its state, its streams with their cursors, and what operators may do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from admin.pages.features.subscriptions.paths import LEVELS, PATH
from admin.pages.rendering import TemplatePage, link
from admin.pages.visit import done, frame
from admin.subscriptions import OfLinks

if TYPE_CHECKING:
    from admin.pages.visit import Visit

DONE = {
    "pause": "It is paused: no wakes are sent until it is resumed, and nothing is lost.",
    "resume": "It is resumed: wakes are sent again.",
    "replay": "Cursors that were set back: {count}. Their events are told again.",
}


async def described(visit: Visit) -> TemplatePage:
    """Return the page of one subscription. Raises ConsoleError."""
    query = visit.query
    route, name = query.get("route", ""), query.get("id", "")
    only_pending = query.get("pending", "") == "1"
    after = query.get("after", "")
    wanted = OfLinks(route, name, after, only_pending)
    found = await visit.console.subscriptions.describe(wanted, visit.viewer)
    return TemplatePage(
        "subscription.html",
        {
            "here": PATH,  # the entry of the menu
            **await frame(visit),
            "route": route,
            "name": name,
            "found": found,
            "link_with": partial(
                link, PATH, route=route, id=name, pending="1" if only_pending else ""
            ),
            "levels": LEVELS,
            "only_pending": only_pending,
            "after": after,
            "is_operator": visit.viewer.is_operator,
            "done": done(visit, DONE),
            "refusal": visit.refusal,
            "entered": visit.entered,
            "now": visit.now,
        },
    )
