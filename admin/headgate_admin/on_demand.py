"""The console's pages and API: loaded, beside the requests, when somebody first asks for one.

They take 1 MB, which a gateway whose console nobody opens does without.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from typing_extensions import override

from headgate_admin.errors import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

    from headgate_admin.pages.site import Site
    from headgate_gateway.settings import Settings


class OnDemand(web.PlainResource):
    """Every URL that the machines' own resources have not. It is below them in the router."""

    def __init__(self, clock: Callable[[], float], settings: Settings) -> None:
        super().__init__("/")
        self._clock = clock
        self._features = settings.features
        self._site: Site | None = None
        self._router = web.UrlDispatcher()

    def use_settings(self, settings: Settings) -> None:
        """Show the pages of the features that new settings name."""
        if settings.features != self._features:
            self._features = settings.features
            self._site, self._router = None, web.UrlDispatcher()

    @override
    async def resolve(
        self, request: web.Request
    ) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """Return the route of a request, or the methods that its path has."""
        await self.site()
        found = await self._router.resolve(request)
        if isinstance(found.http_exception, web.HTTPMethodNotAllowed):
            return None, found.http_exception.allowed_methods
        return (found if found.http_exception is None else None), set()

    async def site(self) -> Site:
        """Return the site that shows pages, loading its modules first."""
        if self._site is None:
            await asyncio.to_thread(_load)
        if self._site is None:  # else another request was faster
            from headgate_admin.api.openapi import add_api
            from headgate_admin.pages.site import Site

            self._site = Site(self._clock, self._features)
            self._site.add_to(self._router)
            add_api(self._router)
        return self._site

    @web.middleware
    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Show people a page that says what went wrong (a middleware)."""
        try:
            return await handler(request)
        except ConsoleError as refusal:
            if not _wants_page(request):
                raise
            return await (await self.site()).error(request, refusal.status, refusal.reason)
        except web.HTTPNotFound as refusal:
            if not _wants_page(request):
                raise
            detail = "There is no such page."
            return await (await self.site()).error(request, refusal.status, detail)


def _load() -> None:
    import headgate_admin.api.openapi
    import headgate_admin.pages.site  # noqa: F401 - in a thread, so that the loop need not wait for it


def _wants_page(request: web.Request) -> bool:
    is_api = request.path.startswith("/api/")
    return not is_api and "text/html" in request.headers.get("Accept", "")
