"""The declaration of a page of the console: where it is, what fills it, and what its form does."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from admin.pages.menu import MenuEntry
    from admin.pages.rendering import TemplatePage
    from admin.pages.visit import Visit


@dataclass(frozen=True, slots=True)
class ConsolePage:
    """A page of the console, as the site knows it.

    `show` returns the page for a visit. `submit` carries out the page's form: it returns a page,
    or raises `HTTPSeeOther` to send the browser on. If it raises ConsoleError, the page is shown
    again with `visit.entered` and `visit.refusal`. A form is sent to the page's own path, by an
    operator unless `admin.access.check` has the path among what a viewer may send.
    """

    path: str
    show: Callable[[Visit], Awaitable[TemplatePage]]
    submit: Callable[[Visit], Awaitable[TemplatePage]] | None = None
    menu: MenuEntry | None = None

    @property
    def folder(self) -> Path:
        """The folder of the page's template, which is that of its `show`."""
        return Path(str(sys.modules[self.show.__module__].__file__)).parent
