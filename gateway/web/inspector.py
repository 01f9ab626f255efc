"""Answers what is asked of this process besides its numbers: by its routes, and by no request."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from gateway.errors import HeadgateError, StreamNotFound
from gateway.protocol.responses import STATUS
from gateway.telemetry.inspection import (
    DescribeStream,
    ExplainRequest,
    ListStreams,
    NotAnswered,
    SharedFigures,
    ShareFigures,
)
from gateway.web.explain import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.runtime.asked import ExplainSteps
    from gateway.runtime.route import StreamRoute
    from gateway.telemetry.inspection import Answer, Question
    from gateway.web.router import Router


class Inspector:
    """What a process with these routes answers."""

    def __init__(self, routes: Router, kinds: Mapping[type[StreamRoute], ExplainSteps]) -> None:
        """`kinds` explain the requests of each kind of route."""
        self._routes = routes
        self._kinds = kinds

    async def answer(self, question: Question) -> Answer:
        """The answer, or why there is none; what a client would be told is never raised."""
        try:
            return await self._answer(question)
        except HeadgateError as refusal:
            return NotAnswered(STATUS[type(refusal)], refusal.detail)

    async def _answer(self, question: Question) -> Answer:
        match question:
            case ListStreams():
                return await self._route(question.route).list_streams(question)
            case DescribeStream():
                route = self._route(question.route)
                return await route.describe(route.checked(question.name))
            case ExplainRequest():
                return await explain(self._routes, self._kinds, question)
            case ShareFigures():
                told: dict[str, str] = {}
                for route in self._routes:
                    told |= await route.share_figures(question.instance, question.told)
                return SharedFigures(told)
            case _:
                assert_never(question)

    def _route(self, prefix: str) -> StreamRoute:
        for route in self._routes:
            if route.prefix == prefix:
                return route
        raise StreamNotFound(f"no route has the prefix {prefix}")
