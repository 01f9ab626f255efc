"""The route to a model provider: its parts, as the listener and the process use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.dialects.registry import provider
from typing_extensions import override

from gateway.errors import BadRequest
from gateway.features.models.answer_route import AnswerRoute
from gateway.features.models.counts import metrics
from gateway.features.models.provider.calls import AnswerProvider
from gateway.features.models.provider.client import ProviderClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.access.contract import RouteAccess
    from gateway.features.models.running import RunningAnswers
    from gateway.protocol.requests import Read
    from gateway.routes.services import Services
    from gateway.settings import ModelSettings
    from gateway.streams.route import HostedRoute
    from gateway.telemetry.metrics import Sample


class ModelRoute(AnswerRoute):
    """A provider below a prefix."""

    operations = "gateway.features.models.model_handlers:ModelHandlers"

    def __init__(
        self,
        settings: ModelSettings,
        key: str,
        streams: HostedRoute,
        running: RunningAnswers,
        services: Services,
        access: RouteAccess,
    ) -> None:
        """Call the provider with `key`, or with those of the callers if it is empty."""
        self.settings = settings
        self.family = provider(settings.dialect)
        self.key = key
        self.made_of = settings, key
        self.upstream = ProviderClient(
            settings.upstreams,
            self.family.fields_with(key) if key else {},
            head_timeout_s=settings.head_timeout,
            read_timeout_s=settings.read_timeout,
            retries=settings.retries,
        )
        answers = AnswerProvider(
            settings.prefix,
            self.upstream,
            settings.max_answer_size,
            settings.resume,
            settings.leave,
        )
        super().__init__(settings, answers, streams, running, services, access)

    @override
    def checked(self, name: str) -> str:
        """Return the path below the prefix, whatever it is: the provider judges it."""
        return name

    @override
    def parse(self, target: str) -> Read:
        raise BadRequest("there are no streams below a model's prefix")

    @override
    def samples(self) -> Iterator[Sample]:
        """Yield the metrics of the route, its answers and its provider."""
        yield from super().samples()
        yield from metrics.provider_samples(self.prefix, self.upstream)

    @override
    async def close(self) -> None:
        """End what still runs, and close all connections."""
        await super().close()
        await self.upstream.close()
