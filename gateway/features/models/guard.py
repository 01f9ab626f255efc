"""The guard of a model route: the token comes as the provider's SDK sends its `api_key`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict
from typing_extensions import override

from gateway.access.token_guard import TokenGuard
from gateway.features.models.provider.client import KEY_FIELDS
from gateway.protocol.http.header_names import PROVIDER_KEYS, TOKEN_FIELD
from gateway.protocol.responses import HEADGATE_FIELDS, REQUEST_HEADERS
from gateway.web.operations import PageFields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate.dialects.contract import Provider
    from multidict import MultiMapping

    from gateway.access.operations import Need
    from gateway.access.principal import Principal
    from gateway.access.token_guard import Verifier

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
