"""The admin listener with made-up figures, and the browser that looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from admin.app import build
from admin.console import CONSOLE
from tests.admin.browser.made_up import NOW
from tests.admin.consoles import Switchboard, setup
from tests.clients.readers import CHROMIUM

if TYPE_CHECKING:
    from aiohttp import web
    from playwright.async_api import Browser, Playwright

    from admin.console import Console


def application(console: Console, **settings: Any) -> web.Application:
    """The application of the admin listener, but for what there is to show."""
    app = build(Switchboard({"server": None}), setup(lambda: NOW, **settings))
    app[CONSOLE] = console
    return app


async def launch(tool: Playwright) -> Browser:
    """The system's Chromium."""
    path, _, *arguments = CHROMIUM
    return await tool.chromium.launch(executable_path=path, args=arguments)
