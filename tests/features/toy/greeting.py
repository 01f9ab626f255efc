"""The greeting of a route: GET PREFIX/__greeting/NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.responses import Response
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.routes.feature import RouteFeature
from headgate_gateway.telemetry.metrics import Sample, counter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.setup import RouteSetup

GREETINGS = counter("toy_greetings_total", "Greetings.", "route")


class Greeting(RouteFeature):
    """The greeting of one route."""

    control = "__greeting"

    def __init__(self, route: StreamRoute, made: RouteSetup) -> None:
        self._prefix = route.prefix
        self._count = 0
        self.renew(made)

    @override
    def renew(self, made: RouteSetup) -> None:
        self._settings = made.settings.section("greeting")

    @override
    async def operate(self, request: Any, target: str, route: Any, name: str) -> RouteAnswer:
        self._count += 1
        words = " ".join([self._settings.word] * self._settings.times)
        body = f"{words}, {name.partition('/')[2]}\n".encode()
        return RouteAnswer.of(
            Response(200, "Content-Type: text/plain\r\n", body), cache_status.BYPASS
        )

    @override
    def samples(self) -> Iterator[Sample]:
        yield Sample(GREETINGS, (self._prefix,), self._count)
