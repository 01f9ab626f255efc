"""The webhook that is told of alerts, with a real server on this machine as the receiver."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from structlog.testing import capture_logs

from admin.alerting import notifier
from admin.alerting.notices import MOST_ALERTS
from admin.alerting.notifier import MOST_WAITING, AlertNotifier
from admin.alerting.states import ActiveAlert, AlertChanges, AlertStates
from admin.app import NOTIFIER, build
from gateway.monitoring.alerts import alerts
from gateway.settings import Settings
from gateway.settings.sections.alerts import webhook_key
from tests.admin.consoles import NOW, Switchboard, setup
from tests.monitoring.configurations import EVERYTHING
from tests.support.certificates import Authority
from tests.support.http1 import ask
from tests.support.outbound import OutboundRequests
from tests.support.ports import free_port
from tests.support.processes import HEADGATE, Headgate, run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
RULES = {rule.name: rule for rule in alerts(EVERYTHING)}
CLOSED, REFUSED = "HeadgateLogDown", "HeadgateRefuses"
DEADLINE_S = 10


def alert(name: str = CLOSED, route: str = "/a") -> ActiveAlert:
    return ActiveAlert(RULES[name], (("route", route),), 0.0, NOW - 60, NOW)


class Received(NamedTuple):
    """A request that the receiver got."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        return json.loads(self.body)

    def states(self) -> list[tuple[str, str]]:
        return [(it["labels"]["alertname"], it["status"]) for it in self.told["alerts"]]


class Receiver:
    """A server that answers as `answer` says, and keeps what it got."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[Received] = asyncio.Queue()
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.fine
        self.port = unused_port()
        self._server: TestServer | None = None

    @staticmethod
    async def fine(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.got.put_nowait(Received({k.lower(): v for k, v in request.headers.items()}, body))
        return await self.answer(request)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app, host="127.0.0.1", port=self.port)
        await self._server.start_server()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()

    async def next(self) -> Received:
        async with asyncio.timeout(DEADLINE_S):
            return await self.got.get()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


class Told:
    """A notifier with a receiver, which is told of changes as the console tells it."""

    def __init__(self, settings: Settings) -> None:
        self.notifier = AlertNotifier(settings, lambda: NOW)
        self.states = AlertStates()
        self.requests = OutboundRequests("alert")

    def fire(self, *fired: ActiveAlert) -> None:
        self.states.active |= {it.key: it for it in fired}
        self.notifier.note(NOW, AlertChanges(fired, ()), self.states)

    def resolve(self, *over: ActiveAlert) -> None:
        for it in over:
            self.states.active.pop(it.key, None)
        self.notifier.note(NOW + 30, AlertChanges((), over), self.states)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "FIRST_S", 0.01)


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return str(file)


def settings(url: str, secret: str) -> Settings:
    return Settings(storage="memory:", alerts={"webhook": url, "webhook_secret_file": secret})


@contextlib.asynccontextmanager
async def telling(receiver: Receiver, secret: str) -> AsyncIterator[Told]:
    url = f"http://127.0.0.1:{receiver.port}/hook?token=s3cret"
    told = Told(settings(url, secret))
    task = asyncio.create_task(told.notifier.run())
    try:
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def delivered(told: Told, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while told.requests.succeeded < count:
            await asyncio.sleep(0)


async def failed(told: Told, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while told.requests.failed < count:
            await asyncio.sleep(0)


async def test_an_alert_that_fires_and_ends_is_told_in_the_format_of_alertmanager(
    receiver: Receiver, secret: str
) -> None:
    async with telling(receiver, secret) as told:
        told.fire(alert())
        first = await receiver.next()
        await delivered(told, 1)
        told.resolve(alert())
        second = await receiver.next()
    assert (first.told["version"], first.told["status"]) == ("4", "firing")
    (fired,) = first.told["alerts"]
    assert fired["labels"] == {
        "alertname": CLOSED,
        "instance": first.told["groupLabels"]["instance"],
        "route": "/a",
        "severity": "critical",
    }
    assert fired["annotations"]["runbook_url"].endswith("/alerts#headgatelogdown")
    assert (fired["startsAt"], fired["endsAt"]) == (
        "2027-01-15T08:00:00.000Z",
        "0001-01-01T00:00:00Z",
    )
    (over,) = second.told["alerts"]
    assert (second.told["status"], over["status"]) == ("resolved", "resolved")
    assert over["endsAt"] == "2027-01-15T08:00:30.000Z"
    assert over["fingerprint"] == fired["fingerprint"]


async def test_a_message_is_signed_as_standard_webhooks_has_it(
    receiver: Receiver, secret: str
) -> None:
    async with telling(receiver, secret) as told:
        told.fire(alert())
        got = await receiver.next()
    timestamp = got.headers["webhook-timestamp"]
    assert timestamp == str(int(NOW))
    signed = f"{got.id}.{timestamp}.".encode() + got.body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"


async def test_a_receiver_that_is_down_is_told_once_it_is_up(secret: str) -> None:
    receiver = Receiver()
    async with telling(receiver, secret) as told:
        told.fire(alert())
        await failed(told, 2)
        await receiver.start()
        got = await receiver.next()
        assert got.states() == [(CLOSED, "firing")]
        await delivered(told, 1)
    await receiver.stop()


async def test_a_failed_message_is_logged_with_its_reason_in_words(secret: str) -> None:
    async def leave(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    receiver = Receiver()
    receiver.answer = leave
    with capture_logs() as lines:
        async with telling(receiver, secret) as told:
            told.fire(alert())
            await failed(told, 2)
            await receiver.start()
            await receiver.next()
            await receiver.next()
    await receiver.stop()
    assert [line["reason"] for line in lines if line["event"] == "alerts.webhook_failed"] == [
        "it cannot be connected to: Connection refused",
        "it closed the connection without a response",
    ]


@pytest.mark.parametrize("status", [500, 404, 302, 307])
async def test_a_message_is_repeated_under_its_id_until_the_receiver_takes_it(
    status: int, receiver: Receiver, secret: str
) -> None:
    paths = set()

    async def refuse(request: web.Request) -> web.StreamResponse:
        paths.add(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    receiver.answer = refuse
    async with telling(receiver, secret) as told:
        told.fire(alert())
        first, second = await receiver.next(), await receiver.next()
        receiver.answer = receiver.fine
        await delivered(told, 1)
    assert (first.id, first.body) == (second.id, second.body)
    assert paths == {"/hook"}, "no redirect is followed"


async def test_a_slow_receiver_is_given_up_and_asked_again(
    receiver: Receiver, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "CALL_S", 0.05)
    release = asyncio.Event()

    async def wait(_request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    receiver.answer = wait
    async with telling(receiver, secret) as told:
        told.fire(alert())
        await receiver.next()
        await receiver.next()
        assert told.requests.failed >= 1
        release.set()
        await delivered(told, 1)


async def test_an_endless_response_is_not_read(receiver: Receiver, secret: str) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)
        return response

    receiver.answer = endless
    async with telling(receiver, secret) as told:
        told.fire(alert())
        await delivered(told, 1)


async def test_nothing_is_sent_after_410_until_the_settings_are_read_again(
    receiver: Receiver, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def gone(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=410)

    receiver.answer = gone
    async with telling(receiver, secret) as told:
        told.fire(alert())
        await receiver.next()
        await failed(told, 1)
        receiver.answer = receiver.fine
        told.fire(alert(route="/b"))
        url = f"http://127.0.0.1:{receiver.port}/other"
        told.notifier.use_settings(settings(url, secret))
        got = await receiver.next()
        assert len(got.told["alerts"]) == 2
        assert receiver.got.empty()
    printed = "".join(capsys.readouterr())
    assert "alerts.webhook_failed" in printed
    assert "s3cret" not in printed
    assert SECRET not in printed


async def test_a_410_of_the_webhook_before_a_reload_does_not_stop_the_new_one(
    receiver: Receiver, secret: str
) -> None:
    is_reloaded = asyncio.Event()

    async def gone(request: web.Request) -> web.StreamResponse:
        if request.path == "/other":
            return await receiver.fine(request)
        await is_reloaded.wait()
        return web.Response(status=410)

    receiver.answer = gone
    async with telling(receiver, secret) as told:
        told.fire(alert())
        await receiver.next()
        told.notifier.use_settings(settings(f"http://127.0.0.1:{receiver.port}/other", secret))
        is_reloaded.set()
        assert (await receiver.next()).states() == [(CLOSED, "firing")]
        await delivered(told, 1)


async def test_what_changes_while_the_receiver_is_away_becomes_one_message(secret: str) -> None:
    receiver = Receiver()
    async with telling(receiver, secret) as told:
        told.fire(alert(route="/a"))
        async with asyncio.timeout(DEADLINE_S):
            while told.requests.failed < 1:  # it has a message that waits to be delivered
                await asyncio.sleep(0)
        told.resolve(alert(route="/a"))
        told.fire(alert(route="/b"))
        await receiver.start()
        got = await receiver.next()
        await delivered(told, 1)
        assert receiver.got.empty()
    assert sorted(it["status"] for it in got.told["alerts"]) == ["firing", "resolved"]
    await receiver.stop()


async def test_a_flood_of_alerts_is_bounded_and_logged(secret: str) -> None:
    receiver = Receiver()
    async with telling(receiver, secret) as told:
        flood = [alert(route=f"/{number}") for number in range(MOST_WAITING + 7)]
        told.fire(*flood)
        with capture_logs() as lines:
            told.resolve(*flood[:-1])
        assert [(it["event"], it["alerts"]) for it in lines] == [("alerts.ends_dropped", 6)]
        await receiver.start()
        got = [await receiver.next() for _ in range(3)]
        await delivered(told, 3)
        assert receiver.got.empty()
    await receiver.stop()
    rest = MOST_WAITING - 2 * MOST_ALERTS + 1  # with the one that fires still
    assert [len(it.told["alerts"]) for it in got] == [MOST_ALERTS, MOST_ALERTS, rest]
    assert [it.told["truncatedAlerts"] for it in got] == [MOST_ALERTS + rest, rest, 0]
    assert {it.told["status"] for it in got} == {"firing"}
    assert got[-1].states()[-1] == (CLOSED, "firing")


async def test_firing_alerts_are_repeated(
    receiver: Receiver, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "REPEAT_S", 0.05)
    async with telling(receiver, secret) as told:
        told.fire(alert())
        first, second = await receiver.next(), await receiver.next()
    assert first.id != second.id
    assert first.states() == second.states()


async def test_without_a_webhook_nothing_is_sent(receiver: Receiver, secret: str) -> None:
    async with telling(receiver, secret) as told:
        told.notifier.use_settings(Settings(storage="memory:"))
        told.fire(alert())
        url = f"http://127.0.0.1:{receiver.port}/hook"
        told.notifier.use_settings(settings(url, secret))  # with which what fires is told
        got = await receiver.next()
        assert got.states() == [(CLOSED, "firing")]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hook.test/", "must be https"),
        ("https://user:pass@hook.test/", "without a user"),
        ("https://hook.test/#a", "without a user and a fragment"),
        ("ftp://hook.test/", "must be an https URL"),
        ("https://", "must be an https URL"),
        ("https://hook.test/a b", "must be an https URL"),
        pytest.param("https://hook.test/" + "x" * 2048, "2,048", id="too-long"),
    ],
)
def test_an_invalid_webhook_is_refused_without_being_shown(
    url: str, words: str, secret: str
) -> None:
    with pytest.raises(ValueError, match=r"alerts\.webhook") as refused:
        settings(url, secret)
    assert words in str(refused.value)
    assert url not in str(refused.value)


def test_a_webhook_needs_a_secret_and_a_secret_a_webhook(secret: str) -> None:
    with pytest.raises(ValueError, match=r"alerts\.webhook_secret_file must be the file"):
        Settings(storage="memory:", alerts={"webhook": "https://hook.test/"})
    with pytest.raises(ValueError, match="must be left out without webhook"):
        Settings(storage="memory:", alerts={"webhook_secret_file": secret})


class OtherProcess(NamedTuple):
    """A receiver for gateways in processes of their own, in a thread."""

    port: int
    got: queue.Queue[Received]


@pytest.fixture
def threaded() -> Iterator[OtherProcess]:
    got: queue.Queue[Received] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.put(Received({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield OtherProcess(server.server_port, got)
    server.shutdown()
    thread.join()
    server.server_close()


EXPIRED = "HeadgateCertificateExpired"  # which is told of as soon as it is seen twice


def expired_gateway(secret: str, threaded: OtherProcess, folder: Path) -> Headgate:
    """Return a gateway of two workers with an expired certificate, which has a webhook."""
    server = Headgate()
    server.serve_routes({"prefix": "/edge", "origin": f"http://127.0.0.1:{free_port()}"})
    paths = Authority.of(folder).issue(begins_in_days=-2, days=-0.01).write(folder)
    server.environment |= {
        "HEADGATE_TLS__CERTIFICATE": str(paths.certificate),
        "HEADGATE_TLS__KEY": str(paths.key),
        "HEADGATE_WORKERS": "2",
        "HEADGATE_ALERTS__WEBHOOK": f"http://127.0.0.1:{threaded.port}/hook?token=s3cret",
        "HEADGATE_ALERTS__WEBHOOK_SECRET_FILE": secret,
    }
    server.start()
    return server


def first_message(server: Headgate, threaded: OtherProcess) -> Received:
    """Wait for a message."""
    wait_until(lambda: not threaded.got.empty(), "a message", server.output)
    return threaded.got.get()


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)  # an alert needs two looks of the console
def test_one_process_of_a_gateway_tells_of_an_alert_and_again_after_a_restart(
    secret: str, threaded: OtherProcess, tmp_path: Path
) -> None:
    server = expired_gateway(secret, threaded, tmp_path)
    try:
        first = first_message(server, threaded)
        (instance,) = {it["labels"]["instance"] for it in first.told["alerts"]}
        assert instance.endswith(f":{server.port}")
        assert (EXPIRED, "firing") in first.states()
        shown = ask(server.admin_port, "GET", "/api/v1/configuration").body.decode()
        assert "s3cret" not in shown + server.output()
        assert server.terminate() == 0
        later = [threaded.got.get() for _ in range(threaded.got.qsize())]
        names = [name for it in (first, *later) for name, _ in it.states()]
        assert len(set(names)) == len(names), "one of the processes tells of each alert"
        assert "resolved" not in {status for it in later for _, status in it.states()}
        server.start()
        again = first_message(server, threaded)
    finally:
        server.close()
    began, begins = (
        it["startsAt"]
        for message in (first, again)
        for it in message.told["alerts"]
        if it["labels"]["alertname"] == EXPIRED
    )
    assert began < begins
    assert "resolved" not in {status for _, status in again.states()}


async def test_a_reload_sets_and_removes_the_webhook(receiver: Receiver, secret: str) -> None:
    made = setup()
    notifier, states = build(Switchboard(), made)[NOTIFIER], AlertStates()
    sending = asyncio.create_task(notifier.run())
    for url, path in ((f"http://127.0.0.1:{receiver.port}/hook", secret), ("", "")):
        for apply in made.reloader.on_reload:
            apply(settings(url, path))
        states.active = {alert().key: alert()}
        notifier.note(NOW, AlertChanges((alert(),), ()), states)
        if url:
            await receiver.next()
    await asyncio.sleep(0.05)
    sending.cancel()
    assert receiver.got.empty()


@pytest.mark.parametrize(
    ("text", "is_fine"),
    [
        pytest.param("whsec_" + base64.b64encode(b"k" * 23).decode(), False, id="23-bytes"),
        pytest.param("whsec_" + base64.b64encode(b"k" * 24).decode(), True, id="24-bytes"),
        pytest.param("whsec_" + base64.b64encode(b"k" * 64).decode(), True, id="64-bytes"),
        pytest.param("whsec_" + base64.b64encode(b"k" * 65).decode(), False, id="65-bytes"),
        pytest.param(base64.b64encode(b"k" * 32).decode(), False, id="without-the-prefix"),
        pytest.param("whsec_not*base64*not*base64*not*base64*", False, id="no-base64"),
        pytest.param("whsec_é" + "A" * 40, False, id="no-ascii"),
        pytest.param("", False, id="empty"),
    ],
)
def test_a_secret_has_24_to_64_bytes_and_is_not_shown(
    text: str, is_fine: bool, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(text)
    file.chmod(0o600)
    if is_fine:
        assert set(webhook_key(str(file))) == set(b"k")
        return
    with pytest.raises(ValueError, match="must be a file with a secret of Standard") as refused:
        webhook_key(str(file))
    assert not text or text not in str(refused.value)


@pytest.mark.usefixtures("processes")
def test_a_gateway_does_not_start_without_the_file_of_its_secret(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    done = run(
        [HEADGATE, "config", "check"],
        environment={
            "HEADGATE_ALERTS__WEBHOOK": "https://hook.test/s3cret",
            "HEADGATE_ALERTS__WEBHOOK_SECRET_FILE": missing,
        },
    )
    assert done.returncode == 2
    assert b"alerts__webhook_secret_file" in done.stderr.lower()
    assert b"s3cret" not in done.stderr + done.stdout
