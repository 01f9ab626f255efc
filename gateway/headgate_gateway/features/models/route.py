"""The route to a model provider, and its guard: a token comes as the SDK sends its `api_key`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict
from typing_extensions import override

from headgate.dialects.contract import provider
from headgate_gateway.access.token_guard import TokenGuard
from headgate_gateway.errors import BadRequest
from headgate_gateway.features.models.completion_route import CompletionRoute
from headgate_gateway.features.models.counts import PASSED, PASSED_REFUSED, RETRIED
from headgate_gateway.features.models.places import PassedPlaces
from headgate_gateway.features.models.provider.client import KEY_FIELDS, ProviderClient
from headgate_gateway.features.models.provider.model_provider import ModelProvider
from headgate_gateway.protocol.http.header_names import PROVIDER_KEYS, TOKEN_FIELD
from headgate_gateway.protocol.responses import HEADGATE_FIELDS, REQUEST_HEADERS
from headgate_gateway.telemetry.metrics import Sample
from headgate_gateway.web.operations import PageFields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multidict import MultiMapping

    from headgate.dialects.contract import Provider
    from headgate_gateway.access.contract import RouteAccess
    from headgate_gateway.access.operations import Need
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.access.token_guard import Verifier
    from headgate_gateway.features.models.completion import RunningCompletions
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.routes.services import Services
    from headgate_gateway.settings import ModelSettings
    from headgate_gateway.streams.route import HostedRoute

# What the SDKs and callers send besides; a browser asks for User-Agent where it lets pages set it.
_PAGE_FIELDS = ", ".join((REQUEST_HEADERS, "User-Agent", *PROVIDER_KEYS))
_FAMILIES = (HEADGATE_FIELDS, "anthropic-", "openai-", "x-stainless-")


def page_fields(*, has_own_key: bool) -> PageFields:
    """Return the fields that pages may send to a model route, which may have the provider's key."""
    tokens = KEY_FIELDS if has_own_key else {TOKEN_FIELD.lower()}
    return PageFields(_PAGE_FIELDS, _FAMILIES, frozenset(tokens))


class ModelGuard(TokenGuard):
    """A guard for callers that send a token as `api_key`, or in a field beside their own key."""

    def __init__(
        self, prefix: str, verifier: Verifier, provider: Provider, *, has_own_key: bool
    ) -> None:
        """Set `has_own_key` if the route has the provider's key, so that `api_key` is a token."""
        super().__init__(prefix, verifier)
        self._provider = provider
        self._has_own_key = has_own_key
        place = f"in {TOKEN_FIELD}, beside the provider's key"
        place = "as api_key" if has_own_key else place
        self.lacks_token = f"this needs a token of this server: send it {place}"

    def sent_token(self, headers: MultiMapping[str]) -> str | None:
        """Return the token in a request, or None."""
        return self._provider.key_of(headers) if self._has_own_key else headers.get(TOKEN_FIELD)

    @override
    def known_principal(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal | None:
        return super().known_principal(headers, self.sent_token(headers), needs, now)

    @override
    async def admit(
        self, headers: MultiMapping[str], token: str | None, needs: Sequence[Need], now: float
    ) -> Principal:
        return await super().admit(headers, self.sent_token(headers), needs, now)

    @override
    @staticmethod
    def stripped(headers: MultiMapping[str]) -> CIMultiDict[str]:
        """Return all fields: a provider's key identifies its owner, so nothing is shared."""
        return CIMultiDict(headers)


class ModelRoute(CompletionRoute):
    """A provider below a prefix."""

    operations = "headgate_gateway.features.models.model_handlers:ModelHandlers"

    def __init__(
        self,
        settings: ModelSettings,
        key: str,
        streams: HostedRoute,
        running: RunningCompletions,
        services: Services,
        access: RouteAccess,
    ) -> None:
        """Call the provider with `key`, or with those of the callers if it is empty."""
        self.settings = settings
        self.family = provider(settings.dialect)
        self.key = key
        self.made_of = settings, key
        self.passed = PassedPlaces(
            settings.max_passed or settings.max_answers,
            settings.max_client_passed or settings.max_client_answers,
        )
        self.upstream = ProviderClient(
            settings.upstreams,
            self.family.fields_with(key) if key else {},
            read_timeout_s=settings.read_timeout,
        )
        completions = ModelProvider(settings, self.upstream)
        super().__init__(settings, completions, streams, running, services, access)

    @override
    def checked(self, name: str) -> str:
        """Return the path below the prefix, whatever it is: the provider judges it."""
        return name

    @override
    def parse(self, target: str) -> Read:
        raise BadRequest("there are no streams below a model's prefix")

    @override
    def samples(self) -> Iterator[Sample]:
        """Yield the metrics of the route, its completions and its provider."""
        yield from super().samples()
        yield Sample(RETRIED, (self.prefix,), self.upstream.repeated_requests)
        yield Sample(PASSED, (self.prefix,), self.passed.taken)
        yield Sample(PASSED_REFUSED, (self.prefix,), self.passed.refused_requests)

    @override
    async def close(self) -> None:
        """End what still runs, and close all connections."""
        await super().close()
        await self.upstream.close()
