"""Answers what is asked of this process besides its numbers: by its routes, and by no request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

import msgspec

from gateway.errors import HeadgateError, StreamNotFound
from gateway.protocol.http.paths import canonical_beginning
from gateway.protocol.responses import STATUS
from gateway.telemetry.inspection import (
    DescribeStream,
    ExplainRequest,
    ListRuns,
    ListStreams,
    NotAnswered,
    OthersFigures,
    ShareFigures,
)
from gateway.web.handlers.explain import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.runtime.asked import ExplainSteps
    from gateway.runtime.route import RunsLike, StreamRoute
    from gateway.telemetry.inspection import Answer, Question
    from gateway.web.router import Router

# Sooner than the console stops waiting for all: what one log cannot tell, another may.
SHARE_S = 1.5


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
                begins = canonical_beginning(question.begins)
                asked = msgspec.structs.replace(question, begins=begins)
                return await self._route(question.route).list_streams(asked)
            case DescribeStream():
                route = self._route(question.route)
                return await route.describe(route.checked(question.name))
            case ListRuns():
                return await self._runs(question.route).page(question)
            case ExplainRequest():
                return await explain(self._routes, self._kinds, question)
            case ShareFigures():
                found = await asyncio.gather(*(_shared(route, question) for route in self._routes))
                return OthersFigures({name: told for one in found for name, told in one.items()})
            case _:
                assert_never(question)

    def _runs(self, prefix: str) -> RunsLike:
        runs = self._route(prefix).runs
        if runs is None:
            raise StreamNotFound(f"the route {prefix} does not say runs = true")
        return runs

    def _route(self, prefix: str) -> StreamRoute:
        for route in self._routes:
            if route.prefix == prefix:
                return route
        raise StreamNotFound(f"no route has the prefix {prefix}")


async def _shared(route: StreamRoute, question: ShareFigures) -> Mapping[str, str]:
    """What others told by this route's log; nothing when that is away."""
    try:
        async with asyncio.timeout(SHARE_S):
            return await route.share_figures(question.instance, question.told)
    except (HeadgateError, TimeoutError):
        return {}  # whether a log can be reached is told by its health
