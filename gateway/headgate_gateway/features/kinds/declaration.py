"""The declaration of a feature, usable before the modules of the feature are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.command_declaration import CommandDeclaration
    from headgate_gateway.settings import Route, Settings
    from headgate_gateway.settings.reading.tables import Section


def _always(_: Route) -> bool:
    """Return True, for each route."""
    return True


def _never(_: Settings) -> bool:
    """Return False, for all settings."""
    return False


class FirstUse(NamedTuple):
    """The first use of a feature of a route, which loads it.

    It is a request to the path `control` or below it, a read in one of the `views`, or a question
    of the console; or the route loads it as it opens, where `stored` of its log returns True.
    Without a log, such a feature is loaded at once.
    """

    control: str = ""
    views: tuple[str, ...] = ()
    stored: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureKind:
    """A feature, as the composition root knows it.

    Functions, classes and types are named as `module:name`, and imported when they are needed.

    `of_log` and `of_origin` take a route to a log or to an HTTP origin, and a RouteSetup: they
    return the RouteFeature of the route, or None if it cannot have any. `needs` names other
    features that it uses, which a route gets before. With a `first_use`, that loads it.

    `check` takes the settings of a route, and raises StartError if the feature could not be made of
    them. `requests` takes a RouteSetup, the Origin and its IdentityHeaders, and returns the
    OriginRequests of a route. `answer` takes the routes and one of the `questions`, a Struct or a
    union of tagged ones: it returns a Struct, or an AnswerFailure.
    `routes` takes the Services of a process and returns its RouteMaker: there are such routes if
    the settings `has_routes`. `commands` are added to those of `headgate`. `page`
    is the ConsolePage of the feature.

    A feature from outside may bring a `section` of the settings, in a module that imports nothing
    of the feature: it is the table [NAME] of the file, and HEADGATE_NAME__KEY of the environment.
    """

    name: str
    # Returns whether the settings of a route ask for the feature.
    is_wanted: Callable[[Route], bool] = _always
    of_log: str = ""
    of_origin: str = ""
    needs: tuple[str, ...] = ()
    first_use: FirstUse | None = None
    check: str = ""
    requests: str = ""
    questions: str = ""
    answer: str = ""
    routes: str = ""
    has_routes: Callable[[Settings], bool] = _never
    commands: tuple[CommandDeclaration, ...] = ()
    page: str = ""
    section: type[Section] | None = None

    def is_on_demand(self, route: Route) -> bool:
        """Return whether only its first use loads the feature of a route with these settings."""
        use = self.first_use
        return use is not None and not (use.stored and route.is_http)
