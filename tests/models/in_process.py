"""A model route in the process of the test, with a clock and a log that the test has in hand."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from headgate_gateway.features.models.provider.requests import CompletionRequest, RequestBody
from headgate_gateway.features.proxies.completion_routes import CompletionRoutes
from headgate_gateway.settings import Settings
from tests.models.serving import models

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.features.models.completion_route import CompletionRoute
    from tests.models.provider import Provider
    from tests.support.serving import Serving

CHAT = "/v1/chat/completions"


@contextlib.asynccontextmanager
async def model_route(
    provider: Provider, gateway: Serving, **settings: object
) -> AsyncIterator[CompletionRoute]:
    """Make a model route that writes the streams of a gateway in this process."""
    table = models(provider, settings)[:1]
    makes = CompletionRoutes(gateway.services)
    (route,) = makes.make(Settings(models=table), [gateway.route], gateway.authorities)
    await route.open()
    try:
        yield route
    finally:
        await route.close()


def request_of(key: str) -> CompletionRequest:
    """Return a request for an answer with an Idempotency-Key; it is the same for each key."""
    fields = CIMultiDict({"Content-Type": "application/json"})
    body = json.dumps({"model": "m", "stream": True}).encode()
    return CompletionRequest(b"owner", key, CHAT, CHAT, fields, RequestBody(body), "m")
