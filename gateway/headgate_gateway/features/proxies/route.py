"""The route of a proxy, and the allowed hosts behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.errors import StreamNotFound
from headgate_gateway.features.errors import AnswerTooLong
from headgate_gateway.features.models.completion import StoredResponse, WholeResponse
from headgate_gateway.features.models.completion_route import CompletionRoute
from headgate_gateway.features.models.provider.client import (
    ProviderClient,
    ProviderResponse,
    body_parts,
    unread,
)
from headgate_gateway.features.models.provider.requests import CompletionProvider
from headgate_gateway.features.models.record import ResponseEntry
from headgate_gateway.features.proxies import responses
from headgate_gateway.features.proxies.guard import EXPIRES, SECRET, SIGNATURE
from headgate_gateway.outbound.client import OutboundClient
from headgate_gateway.outbound.connections import Connector
from headgate_gateway.outgoing_proxies import setting_proxies
from headgate_gateway.protocol.bodies.content import DEFAULT_CONTENT_TYPE
from headgate_gateway.protocol.http.paths import split, taken_out

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from headgate_gateway.access.contract import RouteAccess
    from headgate_gateway.features.models.completion import Completion, RunningCompletions
    from headgate_gateway.features.models.provider.requests import CompletionRequest
    from headgate_gateway.features.proxies.guard import UrlSignatures
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.routes.services import Services
    from headgate_gateway.settings import ProxySettings
    from headgate_gateway.streams.route import HostedRoute

# Of a response that is not a success, this much is passed on.
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
        """Return what has come after the last part, once no more are read."""
        return unread(self._response.content)[: self._left]


class ProxiedProvider(CompletionProvider):
    """The allowed hosts as the provider of a proxy's completions."""

    def __init__(self, settings: ProxySettings, outgoing: str) -> None:
        """Call the hosts through the proxy with the URL `outgoing`, or directly if it is empty."""
        # A client reads by the URL that it gets, whenever it likes.
        super().__init__(settings.prefix, "go-on")
        self.settings = settings
        self.outgoing = outgoing
        self.hosts = settings.allowed_hosts
        self._longest = settings.max_answer_size
        self.client = ProviderClient(
            (),
            {},
            read_timeout_s=settings.read_timeout,
            client=OutboundClient(
                "proxy",
                lambda: Connector(self.hosts),
                ProviderResponse,
                setting_proxies(outgoing, self.hosts),
            ),
        )

    @override
    async def call(self, request: CompletionRequest) -> ProviderResponse:
        body = request.body.sent or None
        return await self.client.send(
            request.path, request.method, request.target, request.fields, body
        )

    @override
    async def read_response(
        self, response: ProviderResponse, _request: CompletionRequest
    ) -> StoredResponse | WholeResponse:
        """Return a successful response to store, or the beginning of another one."""
        content_type = response.headers.get("Content-Type", "")
        if not (content_type.isascii() and content_type.isprintable() and content_type):
            content_type = DEFAULT_CONTENT_TYPE
        head = ResponseEntry(response.status, (("Content-Type", content_type),))
        is_readable = response.headers.getall("Content-Encoding", ["identity"]) == ["identity"]
        if 200 <= response.status < 300 and is_readable:
            return StoredResponse(PlainParts(response, self._longest), head)
        body = b""
        async for part in body_parts(response):
            body += part
            if len(body) >= LONGEST_REFUSAL:
                break
        response.close()
        return WholeResponse(head, body[:LONGEST_REFUSAL])


URL, METHOD, AUTHORIZATION = "Upstream-URL", "Upstream-Method", "Upstream-Authorization"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CREDENTIALS = tuple(f"{name}=" for name in (EXPIRES, SIGNATURE, SECRET))  # in a query


class ProxyRoute(CompletionRoute):
    """A prefix at which requests for other hosts are sent, and below which responses are read."""

    operations = "headgate_gateway.features.proxies.proxy_handlers:ProxyHandlers"
    serves_prefix = True

    def __init__(
        self,
        provider: ProxiedProvider,
        signatures: UrlSignatures,
        streams: HostedRoute,
        running: RunningCompletions,
        services: Services,
        access: RouteAccess,
    ) -> None:
        self.settings = settings = provider.settings
        self.signatures = signatures
        self.made_of = settings, signatures, provider.outgoing
        self.provider = provider
        super().__init__(settings, self.provider, streams, running, services, access)

    @override
    def checked(self, name: str) -> str:
        """Return the id of a stream, or nothing for the prefix; the handler refuses others."""
        return name

    @override
    def parse(self, target: str) -> Read:
        name = split(target)[0].removeprefix(f"{self.prefix}/")
        return self.streams.route.parse(self.stored_target(target, name))

    def stored_target(self, target: str, name: str) -> str:
        """Return the target of a stream where it is stored, without the proxy's credentials."""
        _, rest = taken_out(target, lambda part: part.startswith(_CREDENTIALS))
        query = split(rest)[1]
        return f"{self.streams.path(name)}?{query}" if query else self.streams.path(name)

    async def find(self, name: str) -> Completion:
        """Return the response with this id. Raises StreamNotFound."""
        completion = await self.completions.find(name) if _ID.fullmatch(name) else None
        if completion is None or not completion.request.is_plain:
            raise StreamNotFound("there is no stream with this id")
        return completion

    @staticmethod
    async def fields(completion: Completion, *, is_at_end: bool) -> str:
        """Return the header lines about a response, with its outcome where its end is reached."""
        head = await completion.wait_for_head()
        assert not isinstance(head, WholeResponse), "nobody has the URL of one that is not stored"
        lines = f"{responses.CONTENT_TYPE}: {dict(head.fields)['Content-Type']}\r\n"
        if is_at_end:
            await completion.wait_for_end()
            if completion.outcome is not None:  # else it is not known here, since this server stops
                lines += f"{responses.OUTCOME}: {completion.outcome}\r\n"
        return lines

    @override
    async def close(self) -> None:
        """End what still runs, and close all connections."""
        await super().close()
        await self.provider.client.close()
