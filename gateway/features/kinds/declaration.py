"""The declaration of a feature, usable before the modules of the feature are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.command_declaration import CommandDeclaration
    from gateway.settings import Route, Settings


def _always(_route: Route) -> bool:
    """Return True: every route has the feature, as far as its kind can."""
    return True


def _never(_settings: Settings) -> bool:
    """Return False: most features add to the routes of others."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureKind:
    """A feature, as the composition root knows it.

    Functions are named as `module:function`, and imported when they are needed. `of_log` and
    `of_origin` take a route to a log or to an HTTP origin, and a RouteSetup: they add the feature
    to the route, let it follow new settings, or remove it. `check` takes the settings of a route,
    and raises StartError if the feature could not be made of them. `requests` takes a RouteSetup,
    the Origin and its IdentityHeaders, and returns the OriginRequests of a route. `answer` takes
    the routes and one of the `questions` of the console, which the feature has to answer. `routes`
    takes the Services of a process and returns its RouteMaker. `commands` are added to those of
    `headgate`.
    """

    name: str
    # Returns whether the settings of a route ask for the feature.
    is_wanted: Callable[[Route], bool] = _always
    of_log: str = ""
    of_origin: str = ""
    check: str = ""
    requests: str = ""
    questions: tuple[type, ...] = ()
    answer: str = ""
    # Returns whether the settings ask for routes of the feature's own.
    has_routes: Callable[[Settings], bool] = _never
    routes: str = ""
    commands: tuple[CommandDeclaration, ...] = ()
