"""The declaration of a page of the console: where it is, what fills it, and what its form does."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headgate_admin.console import Console
    from headgate_admin.pages.rendering import TemplatePage
    from headgate_admin.pages.visit import Visit


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A line of the menu.

    `icon` is a path in SVG, 16 by 16, and all that middling screens show. `key` opens the page
    after a g. Lines come by their `order`: Headgate's own have 10 to 100. One is left out while it
    `is_useful` says that its page has nothing to show.
    """

    title: str
    icon: str
    key: str = ""
    order: int = 1_000
    is_useful: Callable[[Console], bool] | None = None


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page of the console, as the site knows it.

    `show` returns the page for a visit; its template has the variables `here`, `instance`, `now`,
    `done` and `refusal` besides. `submit` carries out the page's form: it returns a page, or raises
    `HTTPSeeOther` to send the browser on. If it raises ConsoleError, the page is shown again with
    `visit.entered` and `visit.refusal`. A form is sent to the page's own path, by an operator
    unless `headgate_admin.access.check` has the path among what a viewer may send. `done` has
    sentences on changes that have led to the page, by the `done` of its query.
    """

    path: str
    show: Callable[[Visit], Awaitable[TemplatePage]]
    submit: Callable[[Visit], Awaitable[TemplatePage]] | None = None
    menu: MenuEntry | None = None
    done: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the page's template, which is that of its `show`."""
        return Path(str(sys.modules[self.show.__module__].__file__)).parent

    async def framed(self, visit: Visit, page: TemplatePage) -> TemplatePage:
        """Return a page with the variables of what is around it; it may set others."""
        frame = {
            "here": f"/{self.path.split('/')[1]}",  # the entry of the menu
            "instance": await visit.console.instance(),
            "now": visit.now,
            "done": visit.done(self.done),
            "refusal": visit.refusal,
        }
        return page._replace(variables=frame | dict(page.variables))
