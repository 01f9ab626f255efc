"""The greeting of a route: GET PREFIX/__greeting/NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.access.operations import READ, Need
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.responses import Response
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.routes.feature import FeatureRequest, RouteFeature
from headgate_gateway.telemetry.metrics import Sample, counter
from headgate_greeting.questions import CountGreetings, GreetingCount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.setup import RouteSetup

GREETINGS = counter("greetings_total", "Greetings.", "route")


class Greeting(RouteFeature):
    """The greeting of one route."""

    control = "__greeting"

    def __init__(self, route: StreamRoute, made: RouteSetup) -> None:
        self._prefix = route.prefix
        self.count = 0
        self.renew(made)

    @override
    def renew(self, made: RouteSetup) -> None:
        self._settings = made.settings.section("greeting")

    @override
    async def operate(self, request: FeatureRequest) -> RouteAnswer:
        await request.admit(Need(f"{self._prefix}/{request.name}", READ))
        name = (await request.body()).decode() or request.name.partition("/")[2]
        self.count += 1
        words = " ".join([self._settings.word] * self._settings.times)
        response = Response(200, "Content-Type: text/plain\r\n", f"{words}, {name}\n".encode())
        return RouteAnswer.of(response, cache_status.BYPASS)

    @override
    def samples(self) -> Iterator[Sample]:
        yield Sample(GREETINGS, (self._prefix,), self.count)


async def answer(routes: Iterable[StreamRoute], _: CountGreetings) -> GreetingCount:
    """Return the number of greetings of this process."""
    found = [route.features.get("greeting") for route in routes]
    return GreetingCount(sum(it.count for it in found if isinstance(it, Greeting)))
