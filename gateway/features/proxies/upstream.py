"""The servers behind a proxy: any that are allowed, each called for one response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import NotOffered
from gateway.features.errors import AnswerTooLong
from gateway.features.models.answer import StoredResponse
from gateway.features.models.live_answer import WholeResponse
from gateway.features.models.provider.client import (
    ProviderClient,
    ProviderResponse,
    ServedResponse,
    body_parts,
    unread,
)
from gateway.features.models.record import ResponseEntry
from gateway.outbound.client import OutboundClient
from gateway.outbound.connections import Connector
from gateway.protocol.bodies.content import DEFAULT_CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from typing import NoReturn

    from gateway.features.models.left.unfinished import UnfinishedAnswer
    from gateway.features.models.left.unread import Leave
    from gateway.features.models.provider.contract import AnswerOwner, AnswerRequest
    from gateway.settings import ProxySettings

# Of a response that is no success, this much is passed on.
LONGEST_REFUSAL = 64 << 10


class PlainParts:
    """The parts of a response of any type, up to a length."""

    def __init__(self, response: ProviderResponse, longest: int) -> None:
        self._response = response
        self._longest = self._left = longest

    async def parts(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the parts as they come. Raises OriginTimeout, OriginBroken, AnswerTooLong."""
        try:
            async for part in body_parts(self._response):
                fitting = part[: self._left]
                self._left -= len(fitting)
                if fitting:
                    yield (fitting,)
                if len(fitting) < len(part):
                    raise AnswerTooLong(self._longest)
        finally:
            self._response.close()

    def unread(self) -> bytes:
        """Return what has come behind the last part, once no more are read."""
        return unread(self._response.content)[: self._left]


class ProxiedProvider:
    """The allowed hosts as the provider of a proxy's answers."""

    leave: Leave = "go-on"  # a client reads by the URL that it gets, whenever it likes

    def __init__(self, settings: ProxySettings) -> None:
        self.prefix = settings.prefix
        self.hosts = settings.allowed_hosts
        self._longest = settings.max_answer_size
        self.client = ProviderClient(
            (),
            {},
            head_timeout_s=settings.head_timeout,
            read_timeout_s=settings.read_timeout,
            client=OutboundClient("proxy", lambda: Connector(self.hosts), ProviderResponse),
        )

    async def call(self, request: AnswerRequest) -> ServedResponse:
        """Return the response to a request once its head has come. Raises HeadgateError."""
        origin, body = request.path, request.body.sent or None
        response = await self.client.send(
            origin, request.method, request.target, request.fields, body
        )
        return ServedResponse(response, origin)

    async def read_response(
        self, served: ServedResponse, _request: AnswerRequest
    ) -> StoredResponse | WholeResponse:
        """Return a successful response to store, or the beginning of another one."""
        response = served.response
        content_type = response.headers.get("Content-Type", "")
        if not (content_type.isascii() and content_type.isprintable() and content_type):
            content_type = DEFAULT_CONTENT_TYPE
        head = ResponseEntry(response.status, (("Content-Type", content_type),))
        is_readable = response.headers.get("Content-Encoding", "identity") == "identity"
        if 200 <= response.status < 300 and is_readable:
            return StoredResponse(PlainParts(response, self._longest), head)
        body = b""
        async for part in body_parts(response):
            body += part
            if len(body) >= LONGEST_REFUSAL:
                break
        response.close()
        return WholeResponse(head, body[:LONGEST_REFUSAL])

    @staticmethod
    def own_caller() -> None:
        """Return None: callers send what their servers need."""

    @staticmethod
    def rest_of(_answer: UnfinishedAnswer, _caller: AnswerOwner) -> NoReturn:
        """Raise NotOffered: no response of another server goes on without its connection."""
        raise NotOffered("responses of other servers are not retrieved")
