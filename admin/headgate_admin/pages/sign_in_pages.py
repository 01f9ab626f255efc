"""The forms that sign a user in and out: the only ones that need no viewer before them.

`headgate_admin.access.check` has checked the form's origin before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import web

from headgate_admin.access.check import SESSION, VIEWER
from headgate_admin.access.sign_in import SIGN_IN, drop_cookie, set_cookie
from headgate_admin.bodies import fields
from headgate_admin.errors import ConsoleError
from headgate_admin.pages.rendering import TemplatePage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# A path of this site, and no address of another one: browsers read //host and /\host as such.
_HERE = re.compile(r"/(?![/\\])[^\x00-\x20\x7f]*")


class SignInPages:
    """The handlers of the sign-in and the sign-out."""

    def __init__(
        self, show: Callable[[web.Request, TemplatePage, int], Awaitable[web.Response]]
    ) -> None:
        self._show = show

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add a route for each form."""
        router.add_get("/sign-in", self._ask_who)
        router.add_post("/sign-in", self._sign_in)
        router.add_post("/sign-out", _sign_out)

    async def _ask_who(self, request: web.Request) -> web.Response:
        there = _here(request.query.get("next", ""))
        if VIEWER in request:
            raise web.HTTPSeeOther(there)
        page = TemplatePage("sign_in.html", {"refusal": None, "name": "", "next": there})
        return await self._show(request, page, 200)

    async def _sign_in(self, request: web.Request) -> web.Response:
        entered = await fields(request)
        there, name = _here(entered.get("next", "")), entered.get("name", "")
        try:
            token, _ = await request.app[SIGN_IN].sign_in(
                name, entered.get("password", ""), request.remote or ""
            )
        except ConsoleError as refusal:
            values = {"refusal": refusal.reason, "name": name, "next": there}
            return await self._show(request, TemplatePage("sign_in.html", values), refusal.status)
        response = web.HTTPSeeOther(there)
        set_cookie(response, request, token)
        raise response


async def _sign_out(request: web.Request) -> web.Response:
    session = request.get(SESSION)
    if session is not None:
        request.app[SIGN_IN].sessions.end(session)
    response = web.HTTPSeeOther("/sign-in")
    drop_cookie(response)
    raise response


def _here(path: str) -> str:
    """Return the page of this site to show after a sign-in, the first one if in doubt."""
    return path if _HERE.fullmatch(path) else "/"
