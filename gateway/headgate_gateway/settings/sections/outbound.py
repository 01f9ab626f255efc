"""The settings of requests that Headgate makes itself."""

from __future__ import annotations

from typing import Annotated

from headgate_gateway.protocol.http.outgoing_proxies import (
    PROXY_KIND,
    PROXY_PATTERN,
    SETTING,
    proxy_of,
)
from headgate_gateway.settings.reading.kinds import ValueKind
from headgate_gateway.settings.reading.reload_effects import NEXT
from headgate_gateway.settings.reading.tables import Section, setting
from headgate_gateway.settings.reading.values import Secret, TextPattern, Validator


def _check_proxy(secret: Secret) -> Secret:
    if secret:
        proxy_of(secret.reveal(), SETTING)
    return secret


class OutboundSettings(Section):
    """The settings of requests to hosts that clients and subscribers name."""

    proxy: Annotated[
        Secret,
        Validator(_check_proxy),
        ValueKind(PROXY_KIND),
        TextPattern(rf"({PROXY_PATTERN})?"),
    ] = setting(
        Secret(""),
        reload=NEXT,
        description="Proxy for webhooks and the requests of proxies. It looks names up, so it has "
        "to refuse addresses that are not public. NO_PROXY counts for it. Providers and issuers "
        "go through HTTPS_PROXY and HTTP_PROXY instead.",
    )
