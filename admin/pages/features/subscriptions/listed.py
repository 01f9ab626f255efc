"""The list of subscriptions: searched, sorted and page by page."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, get_args

from admin.errors import ConsoleError
from admin.pages.features.subscriptions.paths import LEVELS, PATH
from admin.pages.rendering import TemplatePage, link
from admin.pages.visit import choice, done, frame, streams_url
from admin.subscriptions import OfSubscriptions
from gateway.features.questions.subscriptions import (
    SubscriptionKind,
    SubscriptionOrder,
    SubscriptionPage,
    SubscriptionStatus,
)

if TYPE_CHECKING:
    from admin.pages.visit import Visit

LONGEST_TEXT = 256
STATUSES = {"": "All", "active": "Active", "failed": "Failed", "stuck": "Stuck", "paused": "Paused"}
KINDS = {
    "": "Any kind",
    "webhook": "Webhook",
    "pull-wake": "Pull-wake",
}
# Order, title, whether it is a number; a column without an order cannot be sorted by.
COLUMNS = (
    ("id", "Subscription", False),
    ("", "Status", False),
    ("", "Wakes", False),
    ("", "Streams", True),
    ("pending", "Pending", True),
    ("oldest", "Waits", True),
)
DONE = {"delete": "The subscription is deleted."}


async def listed(visit: Visit) -> TemplatePage:
    """Return the list, or why there is none. Raises ConsoleError for a malformed query."""
    query = visit.query
    status = choice(query.get("status", ""), ("", *get_args(SubscriptionStatus)), "status")
    kind = choice(query.get("kind", ""), ("", *get_args(SubscriptionKind)), "kind")
    order = choice(query.get("order", "id"), get_args(SubscriptionOrder), "order")
    chosen = {
        "route": query.get("route", ""),
        "text": query.get("text", "")[:LONGEST_TEXT],
        "status": status,
        "kind": kind,
    }
    after = query.get("after", "")
    wanted = OfSubscriptions(
        chosen["route"], chosen["text"].strip(), status or None, kind or None, order, after
    )
    page: SubscriptionPage | None = None
    trouble = None
    try:
        page = await visit.console.subscriptions.page(wanted, visit.viewer)
    except ConsoleError as refusal:
        trouble = refusal
    prefixes = visit.console.subscriptions.prefixes
    return TemplatePage(
        "subscriptions.html",
        {
            "here": PATH,
            **await frame(visit),
            "prefixes": prefixes,
            "chosen": chosen,
            "link_with": partial(link, PATH, **chosen, order=order),
            "is_filtered": any(chosen.values()),
            "statuses": list(STATUSES.items()),
            "levels": LEVELS,
            "kinds": KINDS,
            "order": order,
            "columns": COLUMNS,
            "after": after,
            "page": page,
            "in_all": 0 if page is None else sum(page.states.values()),
            "trouble": trouble,
            "done": done(visit, DONE),
            "command": _first_command(streams_url(visit), prefixes[0]) if prefixes else "",
            "now": visit.now,
        },
    )


def _first_command(base: str, route: str) -> str:
    """Return the command that creates a subscription."""
    url = shlex.quote(f"{base}{route}/__ds/subscriptions/orders")
    body = (
        '{"type": "webhook", "pattern": "events/*", '
        '"webhook": {"url": "http://127.0.0.1:9000/hook"}}'
    )
    return f"curl -X PUT {url} -H 'Content-Type: application/json' -d '{body}'"
