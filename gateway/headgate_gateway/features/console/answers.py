"""Answer the console's questions about streams, runs and requests of this process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headgate_gateway.background import Turns
from headgate_gateway.errors import StreamNotFound
from headgate_gateway.features.console.explain import explain
from headgate_gateway.features.console.inspected_streams import RUNS, ListedRuns, streams_of
from headgate_gateway.features.console.loudest_lists import loudest
from headgate_gateway.features.console.reader_lists import ReaderLists
from headgate_gateway.features.console.token_page import token_page
from headgate_gateway.features.questions.contract import ListRefusals, RefusalList
from headgate_gateway.features.questions.loudest import ListLoudest, LoudestList
from headgate_gateway.features.questions.readers import (
    ApplyBans,
    EndReaders,
    GroupReaders,
    ListReaders,
)
from headgate_gateway.features.questions.runs import ListRuns
from headgate_gateway.features.questions.streams import (
    DescribeStream,
    ExplainRequest,
    LimitStream,
    ListStreams,
)
from headgate_gateway.features.questions.tokens import ListTokens
from headgate_gateway.protocol.http.paths import canonical_beginning
from headgate_gateway.telemetry.event_journal import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headgate_gateway.access.authorities import Authorities
    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.features.questions.runs import RunPage
    from headgate_gateway.features.questions.streams import StreamDescription, StreamPage
    from headgate_gateway.features.questions.tokens import TokenPage
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.router import Router
    from headgate_gateway.routes.services import Services


class ConsoleAnswers:
    """The answers of a process about its streams, readers, runs, tokens and refusals."""

    def __init__(
        self,
        routes: Router,
        services: Services,
        authorities: Authorities,
        models: Sequence[StreamRoute] = (),
    ) -> None:
        """`models` lead to models."""
        self._routes = routes
        self._services = services
        self._authorities = authorities
        self._models = models
        self._turns = Turns()
        readers = ReaderLists(routes, services, lambda: JOURNAL.process)
        self._answers: dict[type, Callable[[Any], Awaitable[Answer]]] = {
            ListStreams: self._list_streams,
            DescribeStream: self._describe,
            LimitStream: self._describe,
            ListRuns: self._list_runs,
            ExplainRequest: partial(explain, routes),
            ListReaders: readers.page,
            GroupReaders: readers.groups,
            EndReaders: readers.end,
            ApplyBans: readers.apply_bans,
            ListTokens: self._list_tokens,
            ListRefusals: self._list_refusals,
            ListLoudest: self._list_loudest,
        }

    async def answer(self, question: Question) -> Answer:
        """Return the answer. Raises HeadgateError."""
        return await self._answers[type(question)](question)

    async def _list_streams(self, question: ListStreams) -> StreamPage:
        prefix = canonical_beginning(question.name_prefix)
        list_question = msgspec.structs.replace(question, name_prefix=prefix)
        return await streams_of(self._route(question.route)).page(list_question)

    async def _describe(self, question: DescribeStream | LimitStream) -> StreamDescription:
        route = self._route(question.route)
        name, streams = route.checked(question.name), streams_of(route)
        if isinstance(question, LimitStream):
            await streams.set_limits(name, question.changes)
        return await streams.describe(name)

    async def _list_runs(self, question: ListRuns) -> RunPage:
        prefix = question.route
        models = (route for route in self._models if route.prefix == prefix)
        runs = (next(models, None) or self._route(prefix)).features.get(RUNS)
        if not isinstance(runs, ListedRuns):
            listed = " and ".join(route.prefix for route in self._models)
            advice = f"; answers of models are runs of {listed}" if listed else ""
            raise StreamNotFound(f"the route {prefix} does not say runs = true{advice}")
        return await runs.page(question)

    async def _list_tokens(self, question: ListTokens) -> TokenPage:
        self._services.loudest.look()  # notes where tokens were used from
        return token_page(self._authorities, self._services.credential_uses, question)

    async def _list_refusals(self, _: ListRefusals) -> RefusalList:
        return RefusalList(self._services.refusals.listed())

    async def _list_loudest(self, _: ListLoudest) -> LoudestList:
        return await loudest(self._routes, self._services, self._turns)

    def _route(self, prefix: str) -> StreamRoute:
        for route in self._routes:
            if route.prefix == prefix:
                return route
        raise StreamNotFound(f"no route has the prefix {prefix}")
