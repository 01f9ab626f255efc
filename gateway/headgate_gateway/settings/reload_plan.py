"""The outcome of a reload as far as the settings alone decide it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from headgate_gateway.settings.log_kinds import file, kind_of
from headgate_gateway.settings.reading.kinds import redacted_origin
from headgate_gateway.settings.reading.reload_effects import (
    JUDGED_ANEW,
    RENDERED_ANEW,
    SET_UP_ANEW,
    fixed_changes,
)
from headgate_gateway.settings.route import Route

if TYPE_CHECKING:
    from headgate_gateway.settings.declared import Settings

# In the order of what a reader notices of it: nothing, slower reads, a new request, a new route.
RouteOutcome = Literal["unchanged", "copies dropped", "authorized anew", "set up anew", "opened"]


def restart_reasons(current: Settings, new: Settings) -> tuple[str, ...]:
    """Return a sentence for each setting that differs, and that only a restart changes."""
    return tuple(
        f"{new.named(change.path)} cannot be changed by a reload: it is {change.current} until a "
        "restart"
        for change in fixed_changes(current, new)
    )


def route_outcome(
    current: Settings, present: Route | None, new: Settings, route: Route
) -> RouteOutcome:
    """Return what a reload does with a route; `present` is the one with its prefix in force."""
    if present is None:
        return "opened"
    effects = {
        one.reload
        for key, one in Route.settings.items()
        if getattr(present, key) != getattr(route, key)
    }
    is_judged_anew = JUDGED_ANEW in effects or current.auth_of(present) != new.auth_of(route)
    if SET_UP_ANEW in effects or (route.is_http and is_judged_anew):
        return "set up anew"
    if is_judged_anew:
        return "authorized anew"
    return "copies dropped" if RENDERED_ANEW in effects else "unchanged"


def new_folders(current: Settings, new: Settings) -> tuple[str, ...]:
    """Return a sentence for each empty folder that replaces a log, with the log that it replaces.

    A mistyped path is valid, and every stream would be gone.
    """
    stays = {route.location for route in new.route_table}
    gone = [
        redacted_origin(route.location)
        for route in current.route_table
        if route.log_kind is not None and route.location not in stays
    ]
    present = {route.location for route in current.route_table}
    return tuple(
        f"{redacted_origin(route.location)} of {route.prefix} is new and has no streams: those in "
        f"{' and '.join(gone)} are no longer served"
        for route in new.route_table
        if gone and route.log_kind is file.KIND and route.location not in present
        if file.is_new(route.location)
    )


def why_log_is_in_use(current: Settings, route: Route) -> str:
    """Return why a reload cannot open the log of a route that is opened or set up anew, or "".

    Some logs can be open once only. Two routes on one log would each believe that their own state
    of its streams is the latest.
    """
    kind = kind_of(route.location)
    if kind is None or not kind.why_alone:
        return ""
    places = {*kind.places(route.location)}
    for present in current.route_table:
        if present.log_kind is kind and places & {*kind.places(present.location)}:
            return (
                f"{route.prefix} cannot have the log {kind.redact(route.location)} by a reload: "
                f"{present.prefix} of this server has it open until a restart"
            )
    return ""
