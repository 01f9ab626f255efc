"""Forms: sign in and out, explain a request, change a stream, stop a run.

`admin.access.check` has checked the user's rights and the form's origin before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from admin.access.audit import audited
from admin.access.check import SESSION, VIEWER
from admin.access.sign_in import SIGN_IN, drop_cookie, set_cookie
from admin.bodies import fields
from admin.console import CONSOLE
from admin.errors import NotTold
from admin.model import DoctorWish
from admin.pages import show
from admin.pages.rendering import TemplatePage, link
from admin.pages.views import cdn, explain, runs, stream
from gateway.protocol.http.paths import MAX_PATH_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from admin.console import Console
    from admin.pages.visit import Visit

    Change = Callable[[Console, "StreamForm"], Awaitable[None]]

# A path of this site, and no address of another one: browsers read //host and /\host as such.
_HERE = re.compile(r"/(?![/\\])[^\x00-\x20\x7f]*")


class StreamForm(NamedTuple):
    """The input of the forms on the page of a stream."""

    query: Mapping[str, str]
    fields: Mapping[str, str]

    @property
    def route(self) -> str:
        """The prefix of the stream's route."""
        return self.query.get("route", "")

    @property
    def name(self) -> str:
        """The stream's name below it, percent-encoded."""
        return self.query.get("name", "")

    def check_meant(self) -> None:
        """Raise NotTold unless the stream's name was repeated, as it is or as it is shown."""
        if self.fields.get("confirm", "").strip() not in {self.name, show.spoken(self.name)}:
            raise NotTold(400, "This is not the stream's name: nothing was done.")


class Forms:
    """The handlers of forms; pages are shown by the site."""

    def __init__(
        self,
        visit: Callable[[web.Request], Visit],
        shown: Callable[[web.Request, TemplatePage, int], Awaitable[web.Response]],
    ) -> None:
        self._visit = visit
        self._shown = shown

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add a route for each form."""
        router.add_get("/sign-in", self._ask_who)
        router.add_post("/sign-in", self._sign_in)
        router.add_post("/sign-out", _sign_out)
        router.add_post("/explain", self._explain)
        router.add_post("/stream", self._change)
        router.add_post("/runs", self._stop)
        router.add_post("/cdn", self._examine)

    async def _ask_who(self, request: web.Request) -> web.Response:
        there = _here(request.query.get("next", ""))
        if VIEWER in request:
            raise web.HTTPSeeOther(there)
        page = TemplatePage("sign_in.html", {"refusal": None, "name": "", "next": there})
        return await self._shown(request, page, 200)

    async def _sign_in(self, request: web.Request) -> web.Response:
        entered = await fields(request)
        there, name = _here(entered.get("next", "")), entered.get("name", "")
        try:
            token, _ = await request.app[SIGN_IN].sign_in(
                name, entered.get("password", ""), request.remote or ""
            )
        except NotTold as refusal:
            told = {"refusal": refusal.reason, "name": name, "next": there}
            return await self._shown(request, TemplatePage("sign_in.html", told), refusal.status)
        response = web.HTTPSeeOther(there)
        set_cookie(response, request, token)
        raise response

    async def _explain(self, request: web.Request) -> web.Response:
        entered = await fields(request)
        query = {"target": entered.get("target", ""), "explained": "yes"}
        visit = self._visit(request)._replace(query=query)
        page = await explain.page(visit, entered.get("headers", ""))
        return await self._shown(request, page, 200)

    async def _change(self, request: web.Request) -> web.Response:
        """Change the stream of the page that the form is on."""
        form = StreamForm(request.query, await fields(request))
        action = form.fields.get("action", "")
        try:
            change = _change(action)
            with audited(request, action, form.route, form.name):
                await change(request.app[CONSOLE], form)
        except NotTold as refusal:
            return await self._refused(request, form, refusal)
        if action == "delete":
            raise web.HTTPSeeOther(link("/streams", route=form.route, done=action))
        raise web.HTTPSeeOther(
            link("/stream", route=form.route, name=form.name, tab="change", done=action)
        )

    async def _stop(self, request: web.Request) -> web.Response:
        """Ask the producer of a run to stop."""
        route, name = request.query.get("route", ""), (await fields(request)).get("name", "")
        try:
            with audited(request, "stop", route, name):
                is_asked = await request.app[CONSOLE].changes.stop_run(route, name)
        except NotTold as refusal:
            template, told = await runs.page(self._visit(request))
            page = TemplatePage(template, {**told, "refusal": refusal.reason})
            return await self._shown(request, page, refusal.status)
        query = {key: request.query.get(key, "") for key in ("route", "status", "after")}
        raise web.HTTPSeeOther(link("/runs", **query, done="asked" if is_asked else "nobody"))

    async def _examine(self, request: web.Request) -> web.Response:
        """Have the doctor examine what lies before this gateway."""
        entered = await fields(request)
        try:
            with audited(request, "doctor", entered.get("route", ""), "") as told:
                told["host"] = entered.get("host", "")[:MAX_PATH_BYTES]
                request.app[CONSOLE].doctor.begin(cdn.wish(entered), request[VIEWER].name)
        except NotTold as refusal:
            template, shown = await cdn.page(self._visit(request))
            kept = {name: entered.get(name, "") for name in DoctorWish.__struct_fields__}
            page = TemplatePage(template, {**shown, "refusal": refusal.reason, "wish": kept})
            return await self._shown(request, page, refusal.status)
        raise web.HTTPSeeOther(f"{link('/cdn', **request.query)}#doctor")

    async def _refused(
        self, request: web.Request, form: StreamForm, refusal: NotTold
    ) -> web.Response:
        """Show the form again, with the input and the reason of the refusal."""
        template, told = await stream.page(self._visit(request))
        told = {**told, "refusal": refusal.reason, "content": form.fields.get("content", "")}
        return await self._shown(request, TemplatePage(template, told), refusal.status)


async def _append(console: Console, form: StreamForm) -> None:
    """Append what was entered, as the stream's own type."""
    described = await console.stream(form.route, form.name)
    # Browsers end each line of a form with both; people mean the second.
    content = form.fields.get("content", "").replace("\r\n", "\n").encode()
    await console.changes.append(form.route, form.name, described.row.content_type or "", content)


async def _close(console: Console, form: StreamForm) -> None:
    form.check_meant()
    await console.changes.close_stream(form.route, form.name)


async def _delete(console: Console, form: StreamForm) -> None:
    form.check_meant()
    await console.changes.delete(form.route, form.name)


CHANGES: Mapping[str, Change] = {"append": _append, "close": _close, "delete": _delete}


def _change(action: str) -> Change:
    try:
        return CHANGES[action]
    except KeyError:
        raise NotTold(400, f"action must be one of {', '.join(CHANGES)}") from None


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
