"""Find logs of subscriptions that are in nobody's use, or in that of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.cross_checks.ineffective_settings import IneffectiveSetting
from gateway.settings.log_kinds import kind_of, kinds_with
from gateway.settings.origin_auth import mistaken_subscriptions
from gateway.settings.reading.kinds import redacted_origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.declared import Settings
    from gateway.settings.reading.values import Place
    from gateway.settings.route import Route

IN_EACH_ROUTE = "must be left out beside routes: give it in those to http(s) origins"
NO_HTTP = "must be left out: the log of the only route stores subscriptions itself"


def mistaken_logs(settings: Settings) -> Iterator[IneffectiveSetting]:
    """Yield each log of subscriptions that cannot be used."""
    shown = redacted_origin(settings.subscriptions.storage)
    if settings.subscriptions.storage and settings.routes:
        yield IneffectiveSetting(("subscriptions", "storage"), shown, IN_EACH_ROUTE)
        return
    if settings.subscriptions.storage and not settings.route_table[0].is_http:
        yield IneffectiveSetting(("subscriptions", "storage"), shown, NO_HTTP)
        return
    yield from _replicas_of_nothing(settings)
    used = {it: route.prefix for route in settings.route_table for it in _places(route.storage)}
    for path, route in routes_with_logs(settings):
        for must in _mistakes(settings, route, used):
            yield IneffectiveSetting(path, redacted_origin(route.subscriptions), must)
        used |= dict.fromkeys(_places(route.subscriptions), route.prefix)


def routes_with_logs(settings: Settings) -> Iterator[tuple[Place, Route]]:
    """Yield each route that has a log of subscriptions, with the place of that setting."""
    if settings.subscriptions.storage:
        yield ("subscriptions", "storage"), settings.route_table[0]
    for index, route in enumerate(settings.routes):
        if route.subscriptions:
            yield ("routes", index, "subscriptions"), route


def _mistakes(settings: Settings, route: Route, used: dict[object, str]) -> Iterator[str]:
    kind = kind_of(route.subscriptions)
    yield from mistaken_subscriptions(settings.auth_of(route))
    if kind is not None and kind.why_alone and settings.workers > 1:
        yield f"must be a Redis while workers is {settings.workers}, as {kind.why_alone}"
    other = next((used[it] for it in _places(route.subscriptions) if it in used), None)
    if other is not None:
        yield f"must be another place: {other} has its own data there"


def _replicas_of_nothing(settings: Settings) -> Iterator[IneffectiveSetting]:
    """Yield each number of replicas that no log of a route to an http(s) origin has."""
    for index, route in enumerate(settings.routes):
        kind, key = kind_of(route.subscriptions), "wait_replicas"
        is_for_log = kind is not None and key in kind.settings
        if route.is_http and key in route.explicit_keys and not is_for_log:
            titles = " or ".join(it.title for it in kinds_with(key))
            must = f"must be left out: neither its origin nor its subscriptions are in {titles}"
            yield IneffectiveSetting(("routes", index, key), route.wait_replicas, must)


def _places(origin: str) -> list[object]:
    """Return where a log keeps its data; nothing for what is no log."""
    kind = kind_of(origin)
    return [] if kind is None else [(kind.name, place) for place in kind.places(origin)]
