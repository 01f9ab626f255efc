"""The changes to a subscription that its page offers to operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from admin.errors import ConsoleError
from admin.pages.features.subscriptions.paths import PATH
from admin.pages.rendering import link
from admin.pages.visit import choice
from admin.subscriptions import OfSubscription, ReplayWish
from gateway.features.console.name_search import spoken

if TYPE_CHECKING:
    from admin.pages.rendering import TemplatePage
    from admin.pages.visit import Visit

ACTIONS = ("pause", "resume", "replay", "delete")


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
