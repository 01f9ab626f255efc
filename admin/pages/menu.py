"""The menu of the console: an entry of each page in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MenuEntry:
    """A line of the menu.

    `icon` is a path in SVG, 16 by 16, and all that middling screens show. `key` opens the page
    after a g. Lines come by their `order`: Headgate's own have 10 to 150.
    """

    title: str
    icon: str
    key: str = ""
    order: int = 1_000
