"""Answer the console's questions: what answers most of them is loaded by the first of these."""

from __future__ import annotations

import asyncio
import pkgutil
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.errors import HeadgateError, NotOffered
from headgate_gateway.features.kinds import kinds_of
from headgate_gateway.features.questions.contract import (
    AnswerFailure,
    FeatureAnswer,
    FeatureQuestion,
    PeerMetrics,
    ShareMetrics,
    TakeEvents,
)
from headgate_gateway.telemetry.event_journal import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headgate_gateway.access.authorities import Authorities
    from headgate_gateway.features.console.answers import ConsoleAnswers
    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.logs.redis.store import RedisStore
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.router import Router
    from headgate_gateway.routes.services import Services

# Seconds for each log; shorter than the console's wait, so that other logs' figures still arrive.
SHARE_S = 1.5


class Inspector:
    """The answers of a process with some routes to the console's questions."""

    def __init__(
        self,
        routes: Router,
        services: Services,
        authorities: Authorities,
        models: Sequence[StreamRoute] = (),
        features: Iterable[str] = (),
    ) -> None:
        """`models` lead to models, and `features` are those from outside by their modules."""
        self._routes = routes
        self._services = services
        self._authorities = authorities
        self._models = models
        self._kinds = {it.name: it for it in kinds_of(features) if it.questions}

    @cached_property
    def _console(self) -> ConsoleAnswers:
        from headgate_gateway.features.console.answers import ConsoleAnswers

        return ConsoleAnswers(self._routes, self._services, self._authorities, self._models)

    async def answer(self, question: Question) -> Answer:
        """Return the answer, or an AnswerFailure with the reason. Never raises HeadgateError."""
        try:
            if isinstance(question, TakeEvents):  # these two are asked every few seconds
                return JOURNAL.events_after(question.after.get(JOURNAL.process, 0))
            if isinstance(question, ShareMetrics):
                return await self._share(question)
            if isinstance(question, FeatureQuestion):
                return await self._ask_feature(question)
            return await self._console.answer(question)
        except HeadgateError as refusal:
            return AnswerFailure(refusal.status, refusal.detail)

    async def _ask_feature(self, question: FeatureQuestion) -> Answer:
        kind = self._kinds.get(question.feature)
        if kind is None:  # a reload has taken it away
            raise NotOffered(f"no feature {question.feature} answers questions here")
        for route in self._routes:
            if (feature := route.features.get(kind.name)) is not None:
                await feature.opened()
        form = pkgutil.resolve_name(kind.questions)
        read = msgspec.json.decode(question.question, type=form)
        found = await pkgutil.resolve_name(kind.answer)(self._routes, read)
        return found if isinstance(found, AnswerFailure) else FeatureAnswer.of(found)

    async def _share(self, question: ShareMetrics) -> PeerMetrics:
        """Return the figures that other gateways left in the logs of all routes."""
        from headgate_gateway.features.redis.store import store_of
        from headgate_gateway.streams.route import HostedRoute

        logs = [route.table.log for route in self._routes if isinstance(route, HostedRoute)]
        stores = [store for log in logs if (store := store_of(log)) is not None]
        found = await asyncio.gather(*(_shared(store, question) for store in stores))
        known = [one for one in found if one is not None]
        figures = {name: value for one in known for name, value in one.items()}
        return PeerMetrics(figures, is_whole=len(known) == len(found))


async def _shared(store: RedisStore, question: ShareMetrics) -> Mapping[str, str] | None:
    """Return the figures that other processes left in a log; None if it is down."""
    from headgate_gateway.features.redis.figures import share_figures

    try:
        async with asyncio.timeout(SHARE_S):
            return await share_figures(store, question.instance, question.figures)
    except (HeadgateError, TimeoutError):
        return None  # the log's health shows that it cannot be reached
