"""The provider of a route's answers: called once for each, and its response taken as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate.dialects.registry import dialect_at
from multidict import CIMultiDict

from gateway.features.models.answer import StoredResponse
from gateway.features.models.live_answer import WholeResponse
from gateway.features.models.provider.contract import AnswerOwner
from gateway.features.models.provider.events import AnswerEvents, BackgroundResponse
from gateway.features.models.provider.responses import (
    LONGEST_WHOLE,
    head_of,
    is_storable,
    whole_body,
)
from gateway.protocol.bodies.content import EVENTS_TYPE

if TYPE_CHECKING:
    from gateway.features.models.left.unfinished import UnfinishedAnswer
    from gateway.features.models.left.unread import Leave
    from gateway.features.models.provider.client import ProviderClient, ServedResponse
    from gateway.features.models.provider.contract import AnswerRequest


class AnswerProvider(NamedTuple):
    """The provider of answers: the prefix of its route, and its servers.

    An answer has up to `longest` bytes. With `resumes`, background responses are retrieved from
    the provider where the connection is lost.
    """

    prefix: str
    upstream: ProviderClient
    longest: int
    resumes: bool
    leave: Leave

    async def call(self, request: AnswerRequest) -> ServedResponse:
        """Return the response to a request once its head has come. Raises HeadgateError."""
        return await self.upstream.call(request.target, request.fields, request.body.sent)

    async def read_response(
        self, served: ServedResponse, request: AnswerRequest
    ) -> StoredResponse | WholeResponse:
        """Return a response as it is to be stored, or whole if it is not. Raises HeadgateError."""
        response = served.response
        head = head_of(response)
        if not is_storable(response):
            return WholeResponse(head, await whole_body(response, LONGEST_WHOLE))
        if response.content_type == EVENTS_TYPE:
            events = AnswerEvents(response, self.longest, self._background(served, request))
            return StoredResponse(events, head)
        body = await whole_body(response, self.longest)
        if request.is_whole and body:
            return StoredResponse(body, head)
        return WholeResponse(head, body)

    def _background(
        self, served: ServedResponse, request: AnswerRequest
    ) -> BackgroundResponse | None:
        """Return the response if it goes on without its connection, and may be retrieved."""
        dialect = dialect_at(request.path)
        if not self.resumes or not request.in_background or dialect.retrieval is None:
            return None
        servers = [served.server]
        return BackgroundResponse(
            self.upstream, servers, dialect, request.path, request.version, request.fields
        )

    def own_caller(self) -> AnswerOwner | None:
        """Return the gateway as a caller with its own key; None where callers have the keys."""
        if not self.upstream.has_key:
            return None
        return AnswerOwner(b"", self.upstream.fields(CIMultiDict(), is_stored=True))

    def rest_of(self, answer: UnfinishedAnswer, caller: AnswerOwner) -> AnswerEvents:
        """Return the events that the provider has after those of a background response."""
        begun = answer.last.request
        background = BackgroundResponse(
            self.upstream,
            self.upstream.urls,
            begun.dialect,
            begun.path,
            begun.version,
            caller.fields,
        )
        background.go_on(answer.response_id, answer.latest)
        return AnswerEvents(None, max(0, self.longest - answer.size), background)
