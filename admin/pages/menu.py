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


# The page of alerts is no ConsolePage: it is shown without a sign-in, too.
ALERTS_ENTRY = (
    "/alerts",
    MenuEntry(
        "Alerts",
        "M4 11.5V7a4 4 0 0 1 8 0v4.5l1.2 1H2.8zM6.5 14.5h3",
        key="l",
        order=130,
    ),
)
