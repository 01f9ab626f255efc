"""The page of subscriptions: a list of them, and each with its streams and changes to it."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, get_args

from aiohttp import web

from headgate_admin.errors import ConsoleError
from headgate_admin.pages.console_page import ConsolePage, MenuEntry
from headgate_admin.pages.rendering import TemplatePage, link
from headgate_admin.pages.visit import choice, streams_url
from headgate_admin.subscriptions import OfLinks, OfSubscription, OfSubscriptions, ReplayWish
from headgate_gateway.features.console.name_search import spoken
from headgate_gateway.features.questions.subscriptions import (
    SubscriptionKind,
    SubscriptionOrder,
    SubscriptionPage,
    SubscriptionStatus,
)

if TYPE_CHECKING:
    from headgate_admin.console import Console
    from headgate_admin.pages.visit import Visit

PATH = "/subscriptions"
LEVELS: dict[SubscriptionStatus, str] = {
    "active": "good",
    "failed": "bad",
    "stuck": "bad",
    "paused": "warning",
}
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
ACTIONS = ("pause", "resume", "replay", "delete")
DONE = {
    "delete": "The subscription is deleted.",
    "pause": "It is paused: no wakes are sent until it is resumed, and nothing is lost.",
    "resume": "It is resumed: wakes are sent again.",
    "replay": "Cursors that were set back: {count}. Their events are sent again.",
}


async def show(visit: Visit) -> TemplatePage:
    """Return the list, or one subscription. Raises ConsoleError."""
    return await (_described(visit) if "id" in visit.query else _listed(visit))


async def _listed(visit: Visit) -> TemplatePage:
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
            "command": _first_command(streams_url(visit), prefixes[0]) if prefixes else "",
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


async def _described(visit: Visit) -> TemplatePage:
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
            "entered": visit.entered,
        },
    )


async def change(visit: Visit) -> TemplatePage:
    """Change the subscription of the page. Raises ConsoleError, HTTPSeeOther."""
    action = choice(visit.entered.get("action", ""), ACTIONS, "action")
    route, name = visit.query.get("route", ""), visit.query.get("id", "")
    subscriptions, viewer = visit.console.subscriptions, visit.viewer
    count = 0
    if action == "delete":
        if visit.entered.get("confirm", "").strip() not in {name, spoken(name)}:
            raise ConsoleError(400, "This is not the subscription's id: nothing was done.")
        await subscriptions.delete(OfSubscription(route, name), viewer)
        raise web.HTTPSeeOther(link(PATH, done="delete"))
    if action == "replay":
        count = (await subscriptions.replay(_replay(visit, route, name), viewer)).streams
    else:
        act = subscriptions.resume if action == "resume" else subscriptions.pause
        await act(OfSubscription(route, name), viewer)
    raise web.HTTPSeeOther(link(PATH, route=route, id=name, done=action, count=str(count)))


def _replay(visit: Visit, route: str, name: str) -> ReplayWish:
    """Return the replay that was entered. Raises ConsoleError."""
    entered = {key: value.strip() for key, value in visit.entered.items()}
    start = choice(entered.get("start", ""), ("beginning", "offset"), "start")
    stream = entered.get("stream", "")
    streams = (stream,) if stream else ()
    if start == "offset":
        if not stream or not entered.get("offset", ""):
            raise ConsoleError(400, "An offset belongs to a stream: enter both.")
        return ReplayWish(route, name, streams, entered["offset"])
    return ReplayWish(route, name, streams)


def has_any(console: Console) -> bool:
    """Return whether there was a subscription at the last look."""
    return any(
        it.metric.name == "headgate_subscriptions" and it.number > 0
        for it in console.recorder.samples
    )


MENU = MenuEntry(
    "Subscriptions",
    "M9 1.8 3.5 9H8l-1 5.2L12.5 7H8z",
    key="w",
    order=100,
    is_useful=has_any,
)
PAGE = ConsolePage(PATH, show, change, MENU, DONE)
