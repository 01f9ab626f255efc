"""The declaration of a feature, usable before the modules of the feature are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.live.contract import FeedSettings
    from gateway.runtime.context import Context
    from gateway.settings import Route, Settings


class RouteSetup(NamedTuple):
    """The settings and parts of which features of a route are made, at a start or a reload."""

    settings: Settings
    route: Route
    feeds: FeedSettings
    shared: Context
    is_reload: bool = False


def _always(_route: Route) -> bool:
    """Return True: every route has the feature, as far as its kind can."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureKind:
    """A feature, as the composition root knows it.

    Functions are named as `module:function`, and imported when they are needed. `of_log` and
    `of_origin` take a route to a log or to an HTTP origin, and a RouteSetup: they add the feature
    to the route, let it follow new settings, or remove it. `check` takes the settings of a route,
    and raises StartError if the feature could not be made of them. `answer` takes the routes and
    one of the `questions` of the console, which the feature has to answer.
    """

    name: str
    # Returns whether the settings of a route ask for the feature.
    is_wanted: Callable[[Route], bool] = _always
    of_log: str = ""
    of_origin: str = ""
    check: str = ""
    questions: tuple[type, ...] = ()
    answer: str = ""
