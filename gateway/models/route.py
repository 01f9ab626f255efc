"""The route to a model provider: its parts, as the listener and the process use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.access.token_guard import TokenGuard
from gateway.errors import BadRequest, NotOffered
from gateway.models.answers import AnswerBounds, ModelAnswers
from gateway.models.counts import metrics
from gateway.models.dialects import DIALECTS
from gateway.models.guard import ModelGuard, page_fields
from gateway.models.provider.calls import AnswerProvider
from gateway.models.provider.client import ProviderClient
from gateway.models.streams import AnswerStreams
from gateway.models.sweep import AbandonedAnswers
from gateway.protocol.http.identity import IdentityHeaders
from gateway.runtime.route import StreamRoute
from gateway.telemetry import traffic_metrics
from gateway.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from multidict import MultiMapping

    from gateway.hosted.route import HostedRoute
    from gateway.models.running import RunningAnswers
    from gateway.protocol.requests import Read
    from gateway.runtime.context import Context
    from gateway.runtime.route import KeptAnswer, PlainGet, RouteAccess
    from gateway.runtime.writes import Write
    from gateway.settings import ModelSettings
    from gateway.telemetry.inspection import ListStreams
    from gateway.telemetry.metrics import Sample


class ModelRoute(StreamRoute):
    """A provider below a prefix; it has no streams itself, but writes those of another route."""

    keeps_order = False

    def __init__(
        self,
        settings: ModelSettings,
        key: str,
        streams: HostedRoute,
        running: RunningAnswers,
        shared: Context,
        access: RouteAccess,
    ) -> None:
        """Call the provider with `key`, or with those of the callers if it is empty."""
        self.settings = settings
        self.prefix = settings.prefix
        self.access = access
        self.clock = shared.clock
        self.identity = IdentityHeaders()
        self.traffic = Traffic()
        self.dialect = DIALECTS[settings.dialect]
        self.key = key
        self.page_fields = page_fields(has_own_key=bool(key))
        self._next_access = access
        self._most_accounts = 0
        self.upstream = ProviderClient(
            settings.upstreams,
            self.dialect.key_fields(key) if key else {},
            head_timeout_s=settings.head_timeout,
            read_timeout_s=settings.read_timeout,
            retries=settings.retries,
        )
        folder = settings.streams.removeprefix(streams.prefix).removeprefix("/")
        self.streams = AnswerStreams(streams, folder, settings.ttl)
        self.answers = ModelAnswers(
            AnswerProvider(
                self.prefix, self.dialect, self.upstream, settings.max_answer_size, settings.resume
            ),
            self.streams,
            AnswerBounds(settings.max_answers, settings.max_client_answers),
            running,
            shared.clock,
        )
        streams.lifecycle.on_removed = lambda name: running.stop(f"{streams.prefix}/{name}")
        self.runs = self.answers.listed
        self._abandoned = AbandonedAnswers(self.answers)

    def prepare(self, access: RouteAccess, most_accounts: int) -> None:
        """Prepare the access, and the accounts with metrics, that `renew` puts in force."""
        self._next_access = access
        self._most_accounts = most_accounts

    def renew(self) -> None:
        """Go on with what was prepared."""
        if isinstance(self._next_access.guard, TokenGuard):
            self._next_access.guard.adopt(self.access.guard)
        self.access = self._next_access
        self.answers.tokens.most_accounts = self._most_accounts

    @override
    def has_token(self, headers: MultiMapping[str], bearer: str | None) -> bool:
        """Return whether a request has a token where callers of a model send it."""
        guard = self.access.guard
        return isinstance(guard, ModelGuard) and guard.sent_token(headers) is not None

    @override
    def checked(self, name: str) -> str:
        """Return the path below the prefix, whatever it is: the provider judges it."""
        return name

    @override
    def parse(self, target: str) -> Read:
        raise BadRequest("there are no streams below a model's prefix")

    @staticmethod
    @override
    def cached_answer(shared: Context, get: PlainGet, now: float) -> KeptAnswer | None:
        """Return None: a provider's responses are not cached."""
        return None

    @override
    def park(self, *_: object) -> bool:
        """Return False: nothing waits here without a handler."""
        return False

    @override
    def invalidate(self, write: Write) -> None:
        """Do nothing: nothing is cached."""

    @override
    def samples(self) -> Iterator[Sample]:
        """Yield the metrics of the route and of its answers."""
        yield from traffic_metrics.samples(self.prefix, self.traffic)
        if self.access.guard is not None:
            yield from traffic_metrics.decisions(self.prefix, self.traffic)
        yield from metrics.samples(self.prefix, self.answers, self.upstream)

    @override
    async def list_streams(self, question: ListStreams) -> NoReturn:
        raise NotOffered("a model route has no streams of its own")

    @override
    async def describe(self, name: str) -> NoReturn:
        raise NotOffered("a model route has no streams of its own")

    @override
    async def open(self) -> None:
        """Prepare to call the provider, and end what an earlier process has left."""
        self.upstream.open()
        self._abandoned.start()

    @override
    async def drain(self) -> None:
        """Wait until all running answers are over; when cancelled, end them with a reason."""
        await self.answers.drain()

    @override
    async def close(self) -> None:
        """End what still runs, and close all connections."""
        await self._abandoned.stop()
        await self.answers.close()
        await self.upstream.close()
