"""The pages of the console: a module for each with its `PAGE`, and its template beside it.

A new page is a new module here, which is found by being here, and a line of the menu in
`admin/pages/templates/base.html`.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from admin.pages.console_page import ConsolePage


def pages() -> Iterator[ConsolePage]:
    """Yield the page of each module."""
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        yield import_module(found.name).PAGE
