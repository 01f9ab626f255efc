"""Admin applications for tests, over a source whose answers are set by hand."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import starmap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from headgate_admin.app import build
from headgate_admin.console import CONSOLE
from headgate_gateway.app import make_services
from headgate_gateway.features.console_token import ConsoleToken
from headgate_gateway.features.questions.process_source import Health, Setup
from headgate_gateway.process.admin_listener import AdminBounds, with_admin_bounds
from headgate_gateway.process.reloader import Reloader
from headgate_gateway.settings import Settings
from headgate_gateway.telemetry.event_journal import JOURNAL
from headgate_gateway.telemetry.health import (
    ACCESS_FILE,
    CERTIFICATE_FILE,
    STARTING,
    STOPPING,
    Cause,
    HealthNote,
)
from headgate_gateway.telemetry.metrics import Histogram, Metric, Sample, counter, gauge, histogram
from headgate_gateway.telemetry.traffic import DELIVERY_SECONDS, READERS
from tests.support.admin_server import AdminServer
from tests.support.given_settings import sections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.features.questions.process_source import ProcessReport, ProcessSource
    from headgate_gateway.telemetry.metrics import Snapshot


def health_of(
    checks: Mapping[str, str | None] = MappingProxyType({}),
    notes: Mapping[str, str | None] = MappingProxyType({}),
) -> Health:
    """The health with these sentences by the names of parts; one that is a code has no reason."""
    return Health(*(tuple(starmap(_note, it.items())) for it in (checks, notes)))


def _note(name: str, why: str | None) -> HealthNote:
    cause = Cause(why) if why in {STARTING, STOPPING} else Cause.of("", why)
    kind, _, subject = name.partition(" ")
    if name.startswith("/"):
        kind, subject = CERTIFICATE_FILE if name.endswith(".pem") else ACCESS_FILE, name
    return HealthNote(kind, subject, cause)


@dataclass
class Switchboard:
    """A source that tells what a test has set: checks and notes by their names, as in `readyz`."""

    state: dict[str, str | None] = field(default_factory=dict)
    notes: dict[str, str | None] = field(default_factory=dict)
    numbers: Snapshot = ()
    answers: Callable[[Question], Sequence[Answer]] = lambda _: ()
    asked: list[Question] = field(default_factory=list)
    reports: Sequence[ProcessReport] = ()
    before_drain: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def watch_processes(self, on_change: Callable[[], None]) -> None:
        """None of them changes."""

    async def health(self) -> Health:
        return health_of(self.state, self.notes)

    async def measure(self) -> Snapshot:
        return self.numbers

    async def processes(self) -> Sequence[ProcessReport]:
        return self.reports

    async def query(self, question: Question) -> Sequence[Answer]:
        self.asked.append(question)
        return self.answers(question)


NOW = 1_800_000_000.0
OPERATOR, VIEWER = "o" * 32, "v" * 32
ADMITTED = (
    {"name": "shop", "role": "operator", "token": OPERATOR},
    {"name": "wall", "role": "viewer", "token": VIEWER},
)


async def _nothing(_settings: Settings) -> None:
    """Apply nothing: no process serves by these settings."""


def setup(clock: Callable[[], float] = lambda: NOW, **settings: Any) -> Setup:
    """What an application is told, with these settings besides the defaults."""
    made = Settings(**sections(settings))
    services = make_services(with_admin_bounds(made), clock)
    reloader = Reloader(made, lambda: made, _nothing)
    return Setup(reloader, lambda: {"data file": "1"}, clock, ConsoleToken(), AdminBounds(services))


def served() -> set[tuple[str, str]]:
    """The methods and paths of the admin listener."""
    # Here, since the application loads them when somebody first asks for one.
    from headgate_admin.api.openapi import add_api
    from headgate_admin.pages.site import Site

    router = web.UrlDispatcher()
    Site(lambda: NOW, ()).add_to(router)
    add_api(router)
    routes = (*build(Switchboard(), setup()).router.routes(), *router.routes())
    return {(it.method, it.resource.canonical) for it in routes if it.resource is not None}


# The metrics of the catalogue that the record is made from.
REQUESTS = counter("headgate_requests_total", "", "route", "operation", "status")
RESULTS = counter("headgate_cache_results_total", "", "route", "result")
ORIGIN_REQUESTS = counter("headgate_origin_requests_total", "", "route", "result")
LIVE_READERS = gauge("headgate_live_readers", "", "route", "mode")
REPAIRS = counter("headgate_repairs_total", "", "route", "repair")
ORIGIN_UP = gauge("headgate_origin_up", "", "route", "server")
COLLAPSED = histogram("headgate_collapsed_readers", "", "route", bounds=READERS)
DELIVERY = histogram("headgate_delivery_seconds", "", "route", bounds=DELIVERY_SECONDS)


def sample(metric: Metric, number: float, *values: str) -> Sample:
    """A number under these labels."""
    return Sample(metric, values, number)


def observed(metric: Metric, values: dict[float, int], *labels: str) -> Sample:
    """A histogram that has seen each value so many times."""
    counted = Histogram(metric.bounds)
    for value, times in values.items():
        counted.observe(value, times)
    return Sample(metric, labels, distribution=counted.distribution())


class Client:
    """A client of a console in this process, by default with the token of an operator."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self._client = client

    @property
    def app(self) -> web.Application:
        """The application of the console."""
        app: web.Application = self._client.app
        return app

    async def send(
        self, method: str, path: str, token: str = OPERATOR, accept: str = "*/*", **more: Any
    ) -> tuple[int, str]:
        """Return the status and the text of an answer."""
        return (await self.led(method, path, token, accept, **more))[:2]

    async def led(
        self, method: str, path: str, token: str = OPERATOR, accept: str = "*/*", **more: Any
    ) -> tuple[int, str, str]:
        """Return the status and the text of an answer, and the address that it leads to."""
        headers = {"Accept": accept, **({"Authorization": f"Bearer {token}"} if token else {})}
        async with self._client.request(
            method, path, headers=headers, allow_redirects=False, **more
        ) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            return answer.status, await answer.text(), answer.headers.get("Location", "")

    async def page(self, path: str, token: str = OPERATOR) -> str:
        """Return the text of a page."""
        status, text = await self.send("GET", path, token)
        assert status == 200, text
        return text

    async def look(self) -> None:
        """Have the recorder look at the source once more."""
        await self.app[CONSOLE].recorder.look()

    async def regions(self, path: str, **fields: str) -> dict[str, str]:
        """Return the first regions that an open page gets."""
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {OPERATOR}", **fields}
        async with self._client.get(path, headers=headers) as answer:
            await answer.content.readline()
            found: dict[str, str] = json.loads((await answer.content.readline())[6:])
        return found

    async def api(
        self, method: str, path: str, body: object = None, token: str = OPERATOR
    ) -> tuple[int, Any]:
        """Return the status and the value of an answer."""
        status, text = await self.send(method, f"/api/v1/{path}", token, json=body)
        return status, json.loads(text) if text else None


@asynccontextmanager
async def console(
    source: ProcessSource | None = None, made: Setup | None = None, **settings: Any
) -> AsyncIterator[Client]:
    """A client of a console over a source, with these settings and a user of each role."""
    JOURNAL.open()  # what other tests in this process have done did not happen here
    made = made or setup(admin_tokens=ADMITTED, **settings)
    async with TestClient(AdminServer(build(source or Switchboard(), made))) as client:
        yield Client(client)


class Clock:
    """The time, as a test sets it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now
