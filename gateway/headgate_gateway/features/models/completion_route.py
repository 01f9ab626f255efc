"""The common part of routes that write completions into the streams of another route."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from typing_extensions import override

from headgate_gateway.features.console.inspected_streams import RUNS
from headgate_gateway.features.models import counts
from headgate_gateway.features.models.completions import ModelCompletions
from headgate_gateway.features.models.ends import Outcome
from headgate_gateway.features.models.places import CompletionPlaces
from headgate_gateway.features.models.streams import CompletionStreams
from headgate_gateway.features.models.upkeep import CompletionUpkeep
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.routes.contract import StreamRoute
from headgate_gateway.telemetry import traffic_metrics
from headgate_gateway.telemetry.metrics import Sample
from headgate_gateway.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.access.contract import RouteAccess
    from headgate_gateway.features.models.completion import RunningCompletions
    from headgate_gateway.features.models.provider.requests import CompletionProvider
    from headgate_gateway.routes.feature import RouteFeature
    from headgate_gateway.routes.services import Services
    from headgate_gateway.runtime.write_journal import Write
    from headgate_gateway.settings import ModelSettings, ProxySettings
    from headgate_gateway.streams.route import HostedRoute


class CompletionRoute(StreamRoute):
    """A prefix below which completions begin; their streams are those of another route."""

    has_streams = False
    made_of: tuple[object, ...]  # besides its streams: other parts make another route

    def __init__(
        self,
        settings: ModelSettings | ProxySettings,
        provider: CompletionProvider,
        streams: HostedRoute,
        running: RunningCompletions,
        services: Services,
        access: RouteAccess,
    ) -> None:
        """Store the completions of `provider` in `streams`."""
        self.prefix = settings.prefix
        self.access = access
        self.clock = services.clock
        self.identity = IdentityHeaders()
        self.traffic = Traffic()
        self._next_access = access
        folder = settings.streams.removeprefix(streams.prefix).removeprefix("/")
        self.streams = CompletionStreams(streams, folder, settings.ttl)
        self.completions = ModelCompletions(
            provider,
            self.streams,
            CompletionPlaces(settings.max_answers, settings.max_client_answers),
            running,
            services.clock,
        )
        self.features: dict[str, RouteFeature] = {RUNS: self.completions.listed}
        self._upkeep = CompletionUpkeep(self.completions, running)

    def prepare(self, access: RouteAccess) -> None:
        """Prepare the access that `commit` puts in force."""
        self._next_access = access

    def commit(self) -> None:
        """Go on with what was prepared."""
        if self._next_access.guard is not None:
            self._next_access.guard.adopt(self.access.guard)
        self.access = self._next_access

    @staticmethod
    @override
    def cached_answer(*_: object) -> None:
        """Do nothing: responses of this route are not cached."""

    @override
    def park(self, *_: object) -> bool:
        """Return False: nothing waits here without a handler."""
        return False

    @override
    def invalidate(self, write: Write) -> None:
        """Do nothing: nothing is cached."""

    @override
    def samples(self) -> Iterator[Sample]:
        """Yield the metrics of the route and of its completions."""
        yield from traffic_metrics.samples(self.prefix, self.traffic)
        if self.access.guard is not None:
            yield from traffic_metrics.decisions(self.prefix, self.traffic)
        route, completions = (self.prefix,), self.completions
        yield Sample(counts.RUNNING, route, len(completions.running))
        for outcome in get_args(Outcome):
            yield Sample(counts.ENDED, (*route, outcome), completions.stored.outcomes[outcome])
        yield Sample(counts.JOINED, route, completions.joined_requests)
        yield Sample(counts.REFUSED, route, completions.places.refused_requests)
        for model, tokens in completions.stored.tokens.models.items():
            for kind, number in zip(("input", "output"), tokens, strict=True):
                yield Sample(counts.TOKENS, (*route, model, kind), number)

    @override
    async def open(self) -> None:
        """End what an earlier process has left."""
        self.completions.gateways.start()
        self._upkeep.start()

    @override
    async def drain(self) -> None:
        """Wait until all running completions are over; when cancelled, end them with a reason."""
        await self.completions.drain()

    @override
    async def close(self) -> None:
        """End what still runs."""
        await self._upkeep.stop()
        await self.completions.close()
