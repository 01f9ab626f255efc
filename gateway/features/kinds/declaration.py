"""The declaration of a feature, usable before the modules of the feature are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.command_declaration import CommandDeclaration
    from gateway.settings import Route, Settings


def always(_: Route) -> bool:
    """Return True, for each route."""
    return True


def never(_: object) -> bool:
    """Return False, for each route and for all settings."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureKind:
    """A feature, as the composition root knows it.

    Functions, classes and types are named as `module:name`, and imported when they are needed.

    `of_log` and `of_origin` take a route to a log or to an HTTP origin, and a RouteSetup: they
    return the RouteFeature of the route, or None if it cannot have any. `needs` names other
    features that it uses, which a route gets before. A feature on demand is loaded by the first
    request to a control path below `control`, the first read in one of its `views`, or the first of
    its questions; or as the route opens, if `stored` of its log returns True.

    `check` takes the settings of a route, and raises StartError if the feature could not be made of
    them. `requests` takes a RouteSetup, the Origin and its IdentityHeaders, and returns the
    OriginRequests of a route. `answer` takes the routes and one of the `questions` of the console.
    `routes` takes the Services of a process and returns its RouteMaker. `commands` are added to
    those of `headgate`.
    """

    name: str
    # Returns whether the settings of a route ask for the feature.
    is_wanted: Callable[[Route], bool] = always
    of_log: str = ""
    of_origin: str = ""
    needs: tuple[str, ...] = ()
    # Returns whether the feature of a route is loaded by its first use only.
    is_on_demand: Callable[[Route], bool] = never
    control: str = ""
    views: tuple[str, ...] = ()
    stored: str = ""
    check: str = ""
    requests: str = ""
    questions: str = ""
    answer: str = ""
    # Returns whether the settings ask for routes of the feature's own.
    has_routes: Callable[[Settings], bool] = never
    routes: str = ""
    commands: tuple[CommandDeclaration, ...] = ()
