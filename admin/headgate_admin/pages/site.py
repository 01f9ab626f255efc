"""The pages at their URLs: read whole or followed live; errors look like pages, too."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from headgate_admin.access.check import VIEWER
from headgate_admin.bodies import fields
from headgate_admin.console import CONSOLE
from headgate_admin.errors import ConsoleError, phrase
from headgate_admin.events import LISTENERS
from headgate_admin.pages import views
from headgate_admin.pages.live import LivePages
from headgate_admin.pages.prose import runbooks
from headgate_admin.pages.rendering import Renderer, TemplatePage
from headgate_admin.pages.sign_in_pages import SignInPages
from headgate_admin.pages.views import cdn
from headgate_admin.pages.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp.typedefs import Handler

    from headgate_admin.pages.console_page import ConsolePage

STATIC = Path(__file__).with_name("static")
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
EVENTS = "text/event-stream"


class Site:
    """The pages of the console at their URLs, rendered for each viewer."""

    def __init__(self, clock: Callable[[], float], features: Iterable[str]) -> None:
        """`features` are the modules of features from outside."""
        self._clock = clock
        self._pages = [*views.pages(features)]
        menu = [(page.path, page.menu) for page in self._pages if page.menu is not None]
        menu.sort(key=lambda it: it[1].order)
        self._menu = menu
        self._renderer = Renderer({page.folder for page in self._pages})
        self._live = LivePages()

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the pages, their forms, and what they are made of."""
        for page in self._pages:
            router.add_get(page.path, self.reading(page))
            if page.submit is not None:
                router.add_post(page.path, self.submitting(page, page.submit))
        SignInPages(self.show).add_to(router)
        router.add_get("/alerts", self.alerts)
        router.add_get("/caches/cdn/file", self.download)
        router.add_get("/static/{name}", _static())

    def reading(self, page: ConsolePage) -> Handler:
        """Return the handler for the URL of a page."""

        async def handle(request: web.Request) -> web.StreamResponse:
            visit = self.visit(request)

            async def regions() -> dict[str, str]:
                news = visit._replace(now=self._clock(), whole=False)
                return await self._renderer.regions(await page.framed(news, await page.show(news)))

            if request.headers.get("Accept", "").startswith(EVENTS):
                # An operator may look at what a viewer may not, and commands name the host.
                seen = f"{visit.viewer.role} {visit.host} {request.path_qs}"
                events = self._live.follow(seen, regions)
                return await request.app[LISTENERS].serve(request, events)
            return await self.show(request, await page.framed(visit, await page.show(visit)))

        return handle

    def submitting(
        self, page: ConsolePage, submit: Callable[[Visit], Awaitable[TemplatePage]]
    ) -> Handler:
        """Return the handler for the form of a page, which shows a refused form again."""

        async def handle(request: web.Request) -> web.Response:
            visit = self.visit(request)._replace(entered=await fields(request))
            try:
                return await self.show(request, await page.framed(visit, await submit(visit)))
            except ConsoleError as refusal:
                visit = visit._replace(refusal=refusal.reason)
                template = await page.framed(visit, await page.show(visit))
                return await self.show(request, template, refusal.status)

        return handle

    def visit(self, request: web.Request) -> Visit:
        """Return the visit of a request: what it asks for, from whom, and when."""
        try:
            host = request.url.host or "localhost"
        except ValueError as cause:
            raise ConsoleError(400, "the Host of the request is not the name of a host") from cause
        console, viewer = request.app[CONSOLE], request[VIEWER]
        return Visit(console, request.query, viewer, host, self._clock())

    async def show(
        self, request: web.Request, page: TemplatePage, status: int = HTTPStatus.OK
    ) -> web.Response:
        """Return a page as a response."""
        console = request.app[CONSOLE]
        menu = [it for it in self._menu if it[1].is_useful is None or it[1].is_useful(console)]
        text = await self._renderer.page(page, viewer=request.get(VIEWER), menu=menu)
        return web.Response(text=text, content_type="text/html", status=status)

    async def alerts(self, request: web.Request) -> web.Response:
        """Show the runbooks that alert rules link to, without a sign-in: an alert wakes people."""
        page = await asyncio.to_thread(runbooks)
        return await self.show(request, TemplatePage("alerts.html", {"page": page}))

    async def download(self, request: web.Request) -> web.Response:
        """Return the configuration of the CDN page as a download."""
        file = await cdn.chosen_file(self.visit(request))
        # The name is a target's own: nothing that was entered is in it.
        disposition = f'attachment; filename="{file.file_name}"'
        return web.Response(text=file.text, headers={"Content-Disposition": disposition})

    async def error(self, request: web.Request, status: int, detail: str) -> web.Response:
        """Return an error page: like the others for a signed-in user, else a bare one."""
        values: dict[str, object] = {"title": phrase(status), "detail": detail, "here": ""}
        if VIEWER in request:
            values["instance"] = await request.app[CONSOLE].instance()
        return await self.show(request, TemplatePage("error.html", values), status)


def _static() -> Handler:
    """Respond with the files of the package, all of which are small, from memory."""
    files = {file.name: (file.read_bytes(), TYPES[file.suffix]) for file in STATIC.iterdir()}

    async def handle(request: web.Request) -> web.Response:
        try:
            body, content_type = files[request.match_info["name"]]
        except KeyError:
            raise web.HTTPNotFound from None
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    return handle
