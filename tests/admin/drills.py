"""The faults: each is caused on real servers, and goes on while its block lasts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import override

from headgate_gateway.settings.reading.kinds import Address
from tests.faults.disk import small_disk
from tests.support.certificates import Authority
from tests.support.given_settings import variables
from tests.support.http1 import Wire, ask, request
from tests.support.ports import free_port
from tests.support.processes import Headgate, headgate
from tests.support.redis_groups import SentinelGroup
from tests.support.redis_servers import redis_server
from tests.support.tokens_files import token, write_tokens
from tests.support.waiting import wait_until
from tests.support.wall_clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUTE = "/v1/stream"
JSON = "application/json"
BIG = b'"' + b"x" * 100_000 + b'"'
PRESENT = re.compile(
    r"\b(is|are|cannot|does|gets?|fails?|takes|uses|answers|refuses|grows|delivers|stalls|expires)\b"
)
MESSAGE = b'{"token": "Hello"}'


class Fault(NamedTuple):
    """A fault that goes on at a server until its end is called."""

    server: Headgate
    end: Callable[[], object]


class Drill(NamedTuple):
    """A fault: `cause` causes it below a folder, at a server whose console is asked.

    From the overview an operator goes to `pages`, one click each, and finds there a sentence with
    each of `answers`: what it is, whom it concerns, since when, what to do.
    """

    name: str
    cause: Callable[[Path], contextlib.AbstractContextManager[Fault]]
    pages: tuple[str, ...]
    answers: tuple[str, ...]
    stays: str = ""  # what is told for an hour: figures that span the moment are wrong as long

    def unanswered(self, server: Headgate) -> list[str]:
        """Return the answers that are on none of the pages."""
        text = "".join(
            ask(server.admin_port, "GET", path, None, Accept="text/html").body.decode()
            for path in self.pages
        )
        return [it for it in self.answers if it not in text]

    def present(self, server: Headgate) -> list[str]:
        """Return what is told in the present tense, but for what stays."""
        return [it for it in present(server) if not self.stays or self.stays not in it]


def served(
    origin: str, *arguments: str, **given: str
) -> contextlib.AbstractContextManager[Headgate]:
    """Start a server with these arguments and settings, which ends with its block."""
    return headgate(origin, arguments=arguments, environment=variables(given))


@contextlib.contextmanager
def repeated(step: Callable[[], object], pause_s: float = 0.05) -> Iterator[None]:
    """Do something again and again in a thread; what it raises is what the fault is about."""
    ends = threading.Event()

    def run() -> None:
        while not ends.wait(pause_s):
            with contextlib.suppress(OSError, EOFError, AssertionError):
                step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def create(server: Headgate, name: str = "chat", **headers: str) -> None:
    made = ask(server.port, "PUT", f"{ROUTE}/{name}", b"", Content_Type=JSON, **headers)
    assert made.status in {200, 201}, made


def append(server: Headgate, name: str = "chat", body: bytes = MESSAGE, **headers: str) -> int:
    return ask(server.port, "POST", f"{ROUTE}/{name}", body, Content_Type=JSON, **headers).status


def delete(server: Headgate, name: str = "chat") -> int:
    return ask(server.port, "DELETE", f"{ROUTE}/{name}").status


def read(server: Headgate, name: str = "chat", **headers: str) -> int:
    return ask(server.port, "GET", f"{ROUTE}/{name}?offset=-1", None, **headers).status


def going_on(
    server: Headgate, step: Callable[[], object], pause_s: float = 0.05
) -> Iterator[Fault]:
    """Yield a fault that something done again and again is, until its end."""
    with contextlib.ExitStack() as steps:
        steps.enter_context(repeated(step, pause_s))
        yield Fault(server, steps.close)


@contextlib.contextmanager
def origin_away(folder: Path) -> Iterator[Fault]:
    with (
        served(f"file:{folder}/data") as origin,
        served(f"{origin.url}{ROUTE}") as server,
    ):
        create(server)
        create(server, "other")
        append(server)
        read(server)
        origin.kill()
        with repeated(lambda: (read(server), read(server, "other"), append(server))):
            yield Fault(server, origin.start)


class Origin(ThreadingHTTPServer):
    """An origin that answers each GET with `status`: some at once, then after some seconds."""

    daemon_threads = True
    host = "127.0.0.1"

    def __init__(self, *, prompt: int = 0, slow_s: float = 0.0, status: int = 200) -> None:
        super().__init__((self.host, 0), _OriginRequest)
        self.slow_s, self.status = slow_s, status
        self.numbers, self.prompt = count(), prompt
        self.url = f"http://{Address(self.host, self.server_port)}{ROUTE}"

    def recover(self) -> None:
        """Answer well and at once from now on."""
        self.slow_s, self.status = 0.0, 200


class _OriginRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin

    def do_GET(self) -> None:
        if next(self.server.numbers) >= self.server.prompt:
            time.sleep(self.server.slow_s)
        self.send_response(self.server.status)
        for name, value in (
            ("Content-Type", "text/plain"),
            ("Stream-Next-Offset", "1"),
            ("Cache-Control", "public, max-age=60"),
            ("Content-Length", "4"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"data")

    @override
    def log_message(self, *_: object) -> None:
        """Write nothing."""


@contextlib.contextmanager
def origin_of(*, clients: int = 1, pause_s: float = 0.05, **behaviour: Any) -> Iterator[Fault]:
    """Serve an origin to some clients; each of their reads has a parameter of its own."""
    origin, numbers = Origin(**behaviour), count()
    thread = threading.Thread(target=origin.serve_forever)
    thread.start()
    try:
        with served(origin.url) as server, contextlib.ExitStack() as reading:

            def read_anew() -> int:
                number = next(numbers)
                target = f"{ROUTE}/chat{number % 9}?offset=-1&session={number}"
                return ask(server.port, "GET", target).status

            for _ in range(clients):
                reading.enter_context(repeated(read_anew, pause_s))
            yield Fault(server, origin.recover if behaviour else reading.close)
    finally:
        origin.shutdown()
        thread.join()
        origin.server_close()


@contextlib.contextmanager
def exploding_stream(folder: Path) -> Iterator[Fault]:
    with served(f"file:{folder}/data") as server:
        for name in ("hot", "quiet"):
            create(server, name)
        yield from going_on(server, lambda: (append(server, "hot", BIG), append(server, "quiet")))


@contextlib.contextmanager
def nearly_used_quota(folder: Path) -> Iterator[Fault]:
    with contextlib.closing(Headgate()) as server:
        limited = {"prefix": ROUTE, "storage": f"file:{folder}/data", "max_storage_size": "4MiB"}
        server.serve_routes(limited)
        server.start()
        create(server)
        for _ in range(39):
            assert append(server, body=BIG) in {200, 204}
        yield Fault(server, lambda: delete(server))


@contextlib.contextmanager
def dead_webhook(folder: Path) -> Iterator[Fault]:
    with served(f"file:{folder}/data", http_public_url="http://127.0.0.1") as server:
        webhook = {"url": f"http://127.0.0.1:{free_port()}/orders?key=secret"}
        document = {"type": "webhook", "pattern": "*", "webhook": webhook}
        place, body = f"{ROUTE}/__ds/subscriptions/orders", json.dumps(document).encode()
        made = ask(server.port, "PUT", place, body, Content_Type=JSON)
        assert made.status == 201, made.body
        create(server)
        with repeated(lambda: append(server), 1.0):
            yield Fault(server, lambda: ask(server.port, "DELETE", place))


@contextlib.contextmanager
def leaked_token(folder: Path) -> Iterator[Fault]:
    file = tokens(folder, "phone")
    with served(f"file:{folder}/data", auth="tokens", tokens_file=str(file)) as server:
        phone = f"Bearer {token('phone')}"
        create(server, Authorization=phone)

        def use(agent: str) -> int:
            return read(server, Authorization=phone, User_Agent=agent)

        yield from going_on(server, lambda: (use("app/1"), use("curl/8")), 0.5)


@contextlib.contextmanager
def refused_settings(folder: Path) -> Iterator[Fault]:
    file = folder / "headgate.toml"
    file.write_text('[limits]\nmax_append = "1MiB"\n')
    with served("memory:", "--config", str(file)) as server:
        right = file.read_text()
        file.write_text("[limits]\nmax_apend = 1\n")
        yield Fault(server, lambda: file.write_text(right))


@contextlib.contextmanager
def refused_certificate(folder: Path) -> Iterator[Fault]:
    paths = Authority("authority", folder / "authority.pem").issue().write(folder)
    tls = {"tls_certificate": str(paths.certificate), "tls_key": str(paths.key)}
    with served("memory:", **tls) as server:
        right = paths.certificate.read_text()
        paths.certificate.write_text("not a certificate")
        yield Fault(server, lambda: paths.certificate.write_text(right))


@contextlib.contextmanager
def ending_certificate(folder: Path) -> Iterator[Fault]:
    authority = Authority("authority", folder / "authority.pem")
    paths = authority.issue(days=0.05).write(folder)
    tls = {"tls_certificate": str(paths.certificate), "tls_key": str(paths.key)}
    with served("memory:", **tls) as server:
        yield Fault(server, lambda: authority.issue(days=90).write(folder))


@contextlib.contextmanager
def killed_worker(folder: Path) -> Iterator[Fault]:
    with (
        redis_server(folder / "redis", appendonly="yes") as redis,
        served(redis.url, workers="2") as server,
    ):
        time.sleep(11)  # else its place stays empty for a while, as of one that cannot start
        gateways = ask(server.admin_port, "GET", "/api/v1/gateways").json()
        pid = next(it["pid"] for it in gateways["processes"] if it["name"] == "worker 2")
        os.kill(pid, signal.SIGKILL)
        yield Fault(server, lambda: None)


@contextlib.contextmanager
def clock_set(folder: Path) -> Iterator[Fault]:
    clock = WallClock(folder)
    with headgate(f"file:{folder}/data", environment=clock.environment) as server:
        time.sleep(6)  # a look, which knows the clock as it was
        clock.set(-7200)
        yield Fault(server, lambda: None)


@contextlib.contextmanager
def redis_without_cache(folder: Path) -> Iterator[Fault]:
    with (
        redis_server(folder / "redis", appendonly="yes") as redis,
        served(redis.url, cache_size="0") as server,
    ):
        create(server)
        append(server)
        yield from going_on(server, lambda: read(server), 0.0)


@contextlib.contextmanager
def redis_failover(folder: Path) -> Iterator[Fault]:
    # Without an append-only file, that would be another fault, which goes on.
    with (
        SentinelGroup(folder / "redis", {"appendonly": "yes"}) as group,
        served(group.url) as server,
    ):
        create(server)
        with repeated(lambda: append(server)):
            group.primary().kill()
            yield Fault(server, lambda: None)


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[Fault]:
    with small_disk(folder, "96m") as place, served(f"file:{place}/data") as server:
        create(server)
        big = b'"' + b"x" * (1 << 20) + b'"'
        with contextlib.ExitStack() as writing:
            writing.callback(delete, server)
            writing.enter_context(repeated(lambda: append(server, body=big), 0.01))
            yield Fault(server, writing.close)


@contextlib.contextmanager
def stalled_reader(folder: Path) -> Iterator[Fault]:
    with served(f"file:{folder}/data") as server, Wire(server.port) as wire:
        create(server)
        target = f"{ROUTE}/chat?offset=now&live=sse"
        wire.send(request("GET", target, User_Agent="stalled-client/0.3"))
        wire.head()
        big = b'"' + b"x" * 200_000 + b'"'
        with repeated(lambda: append(server, body=big), 0.05):
            yield Fault(server, wire.socket.close)


@contextlib.contextmanager
def flooding_client(folder: Path) -> Iterator[Fault]:
    with served(f"file:{folder}/data", max_client_appends="20") as server:
        create(server)
        yield from going_on(server, lambda: append(server), 0.0)


def tokens(folder: Path, *names: str, revoked: str = "") -> Path:
    grants = {name: [("*", "read append create")] for name in names}
    path = Path(write_tokens(folder, grants, without="", prefix=ROUTE))
    if revoked:
        new = folder / "tokens.new"
        new.write_text(f'{path.read_text()}\n[[revoked]]\nname = "{revoked}"\n')
        new.replace(path)
    return path


@contextlib.contextmanager
def revoked_token(folder: Path) -> Iterator[Fault]:
    file = tokens(folder, "shop", "phone")
    with served(f"file:{folder}/data", auth="tokens", tokens_file=str(file)) as server:
        shop, phone = (f"Bearer {token(name)}" for name in ("shop", "phone"))
        create(server, Authorization=shop)
        read(server, Authorization=phone)
        tokens(folder, "shop", "phone", revoked="phone")
        wait_until(lambda: read(server, Authorization=phone) == 401, "the file is read")
        yield from going_on(server, lambda: read(server, Authorization=phone), 0.2)


def present(server: Headgate) -> list[str]:
    """Return what the first page and the events tell in the present tense, or as going on."""
    overview = ask(server.admin_port, "GET", "/api/v1/overview").json()
    events = ask(server.admin_port, "GET", "/api/v1/events").json()["events"]
    going_on = [
        it["sentence"]
        for it in (*overview["attention"], *events)
        if not it.get("last_at") or it["lasts"]
    ]
    over = [it["sentence"] for it in (*overview["ended"], *events)]
    return going_on + [it for it in over if PRESENT.search(it)]


DRILLS = (
    Drill("origin away", origin_away, ("/",), ("cannot be connected to", "/v1/stream")),
    Drill(
        "origin slow",
        lambda _: origin_of(clients=4, prompt=200, slow_s=3.0),
        ("/",),
        ("The origin of /v1/stream is slow:", "p99 ", "wait now."),
    ),
    Drill(
        "origin fails", lambda _: origin_of(status=500), ("/",), ("has answered nothing but 5xx",)
    ),
    Drill(
        "redis failover", redis_failover, ("/",), ("failed over: no acknowledged write was lost",)
    ),
    Drill("full disk", full_disk, ("/",), ("left for /v1/stream",)),
    Drill("nearly used quota", nearly_used_quota, ("/",), ("uses 9", "of max_storage_size")),
    Drill("refused certificate", refused_certificate, ("/",), ("certificate", "server.pem")),
    Drill("ending certificate", ending_certificate, ("/",), ("server.pem", "ends at", "openssl")),
    Drill("killed worker", killed_worker, ("/",), ("worker 2", "was killed by SIGKILL")),
    Drill(
        "leaked token",
        leaked_token,
        ("/", "/clients?show=usage", "/clients?show=tokens&text=phone"),
        ("show=tokens&amp;text=phone", "127.0.0.1", "app/1", "curl/8"),
    ),
    Drill("exploding stream", exploding_stream, ("/",), ("/v1/stream/hot grew by", "MB a minute")),
    Drill(
        "few hits",
        lambda _: origin_of(clients=4, pause_s=0.0),
        ("/",),
        ("of the reads of /v1/stream were fetched", "parameters"),
    ),
    Drill(
        "few hits of redis",
        redis_without_cache,
        ("/",),
        (
            "of the reads of /v1/stream were fetched from Redis although",
            "target=%2Fv1%2Fstream%2Fchat",
        ),
    ),
    Drill("refused settings", refused_settings, ("/",), ("max_apend", "config check --config")),
    Drill(
        "dead webhook",
        dead_webhook,
        ("/",),
        ("subscription orders of /v1/stream to http://127.0.0.1:", "failed"),
    ),
    Drill("clock set", clock_set, ("/",), ("lock was set back by 7,200 s",), "clock was set back"),
    Drill(
        "reader that does not read",
        stalled_reader,
        ("/clients",),
        ("slow", "stalled-client/0.3", "127.0.0.1"),
    ),
    Drill(
        "flooding client",
        flooding_client,
        ("/", "/events?show=refusals"),
        ("refused requests beyond the limit max_client_appends", "429"),
    ),
    Drill(
        "revoked token",
        revoked_token,
        ("/events", "/clients?show=tokens", "/events?show=refusals"),
        ("revoked: token phone", "the token is revoked"),
    ),
)
