"""The effects of a reload on settings, in words for the documentation, and the fixed settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.reading.tables import Table

FIXED = "no: restart"
NEXT_HANDSHAKE = "yes, from the next handshake on"
NEXT_HANDSHAKE_IF_BOTH = "yes, from the next handshake on; to begin or end with TLS: restart"
NEXT = "yes, from the next request on"
AT_ONCE = "yes, at once"
OPEN_STAYS = "yes; what is already open stays open above a lower limit"
CREDENTIALS = "yes; readers whose credential is no longer valid are disconnected"
JUDGED_ANEW = "yes; live reads of the route end after an event, and are authorized again"
RENDERED_ANEW = "yes; cached responses of the route are dropped"
SET_UP_ANEW = "yes; live reads of the route end after an event, its cached responses are dropped"


class FixedChange(NamedTuple):
    """A setting that a reload would change, but cannot: its path, and what it is now."""

    path: str
    current: object


def fixed_changes(current: Table, new: Table, at: str = "") -> Iterator[FixedChange]:
    """Yield the settings that differ between the two, and that only a restart changes."""
    for key, one in current.settings.items():
        if key not in new.settings:  # the section of a feature that is switched off
            continue
        now, then = getattr(current, key), getattr(new, key)
        if one.section is not None:
            yield from fixed_changes(now, then, f"{at}{key}.")
        elif _needs_restart(one.reload, now, then):
            yield FixedChange(f"{at}{key}", one.plain(now))


def _needs_restart(effect: str | None, current: object, new: object) -> bool:
    """Return whether a setting with this effect of a reload changes only by a restart."""
    if effect == NEXT_HANDSHAKE_IF_BOTH:  # a listener goes on with or without TLS
        return bool(current) != bool(new)
    return effect == FIXED and current != new
