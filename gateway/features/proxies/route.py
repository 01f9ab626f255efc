"""The route of a proxy: its parts, as the listener and the process use them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import StreamNotFound
from gateway.features.models.answer_route import AnswerRoute
from gateway.features.models.live_answer import WholeResponse
from gateway.features.proxies import responses
from gateway.features.proxies.guard import SECRET
from gateway.features.proxies.signatures import EXPIRES, SIGNATURE
from gateway.features.proxies.upstream import ProxiedProvider
from gateway.protocol.http.paths import split, taken_out

if TYPE_CHECKING:
    from gateway.access.contract import RouteAccess
    from gateway.features.models.running import RunningAnswers
    from gateway.features.models.stored import Answer
    from gateway.features.proxies.signatures import UrlSignatures
    from gateway.protocol.requests import Read
    from gateway.routes.services import Services
    from gateway.settings import ProxySettings
    from gateway.streams.route import HostedRoute

URL, METHOD, AUTHORIZATION = "Upstream-URL", "Upstream-Method", "Upstream-Authorization"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CREDENTIALS = tuple(f"{name}=" for name in (EXPIRES, SIGNATURE, SECRET))  # in a query


class ProxyRoute(AnswerRoute):
    """A prefix at which requests for other hosts are sent, and below which responses are read."""

    operations = "gateway.features.proxies.proxy_handlers:ProxyHandlers"
    serves_prefix = True

    def __init__(
        self,
        settings: ProxySettings,
        signatures: UrlSignatures,
        streams: HostedRoute,
        running: RunningAnswers,
        services: Services,
        access: RouteAccess,
    ) -> None:
        self.settings = settings
        self.signatures = signatures
        self.made_of = settings, signatures
        self.provider = ProxiedProvider(settings)
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

    async def find(self, name: str) -> Answer:
        """Return the response with this id. Raises StreamNotFound."""
        answer = await self.answers.find(name) if _ID.fullmatch(name) else None
        if answer is None or not answer.request.is_plain:
            raise StreamNotFound("there is no stream with this id")
        return answer

    @staticmethod
    async def fields(answer: Answer, *, is_at_end: bool) -> str:
        """Return the header lines about a response, with its outcome where its end is reached."""
        head = await answer.wait_for_head()
        assert not isinstance(head, WholeResponse), "nobody has the URL of one that is not stored"
        lines = f"{responses.CONTENT_TYPE}: {dict(head.fields)['Content-Type']}\r\n"
        if is_at_end:
            await answer.wait_for_end()
            if answer.outcome is not None:  # else it is not known here, since this server stops
                lines += f"{responses.OUTCOME}: {answer.outcome}\r\n"
        return lines

    @override
    async def close(self) -> None:
        """End what still runs, and close all connections."""
        await super().close()
        await self.provider.client.close()
