"""The menu of the console: an entry of each page in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from admin.console import Console


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
