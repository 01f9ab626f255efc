"""The faults: each is caused on real servers, and goes on while its block lasts."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.faults.disk import FaultyDisk, small_disk
from tests.support.given_settings import variables
from tests.support.http1 import Wire, ask, request
from tests.support.processes import Headgate
from tests.support.redis_groups import SentinelGroup
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until
from tests.workers.several import several

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROUTE = "/v1/stream"
JSON = "application/json"
MESSAGE = b'{"token": "Hello"}'


class Drill(NamedTuple):
    """A fault: `cause` causes it below a folder, and yields the server whose console is asked.

    From the overview an operator goes to `pages`, one click each, and finds there a sentence with
    each of `answers`: what it is, whom it concerns, since when, what to do.
    """

    name: str
    cause: Callable[[Path], contextlib.AbstractContextManager[Headgate]]
    pages: tuple[str, ...]
    answers: tuple[str, ...]

    def unanswered(self, server: Headgate) -> list[str]:
        """Return the answers that are on none of the pages."""
        text = "".join(
            ask(server.admin_port, "GET", path, None, Accept="text/html").body.decode()
            for path in self.pages
        )
        return [it for it in self.answers if it not in text]


@contextlib.contextmanager
def served(origin: str, *arguments: str, **environment: str) -> Iterator[Headgate]:
    names = variables(environment)
    server = Headgate(origin, arguments=arguments, environment=names)
    try:
        yield server.start()
    finally:
        server.close()


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


def read(server: Headgate, name: str = "chat", **headers: str) -> int:
    return ask(server.port, "GET", f"{ROUTE}/{name}?offset=-1", None, **headers).status


@contextlib.contextmanager
def origin_away(_folder: Path) -> Iterator[Headgate]:
    with served("memory:") as origin, served(f"{origin.url}{ROUTE}") as server:
        create(server)
        append(server)
        read(server)
        origin.kill()
        with repeated(lambda: (read(server), read(server, "other"), append(server))):
            yield server


@contextlib.contextmanager
def redis_failover(folder: Path) -> Iterator[Headgate]:
    with SentinelGroup(folder / "redis") as group, served(group.url) as server:
        create(server)
        with repeated(lambda: append(server)):
            group.primary().kill()
            yield server


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[Headgate]:
    with small_disk(folder, "96m") as place, served(f"file:{place}/data") as server:
        create(server)
        big = b'"' + b"x" * (1 << 20) + b'"'
        with repeated(lambda: append(server, body=big), 0.01):
            yield server


@contextlib.contextmanager
def hot_stream(folder: Path) -> Iterator[Headgate]:
    with served(f"file:{folder}/data") as server, contextlib.ExitStack() as opened:
        for name in ("hot", "quiet"):
            create(server, name)
        for number in range(150):
            wire = opened.enter_context(Wire(server.port))
            name = "quiet" if number < 3 else "hot"
            target = f"{ROUTE}/{name}?offset=now&live=sse"
            wire.send(request("GET", target, User_Agent="viewer/1"))
            wire.head()
        with repeated(lambda: append(server, "hot"), 0.02):
            yield server


@contextlib.contextmanager
def stalled_reader(folder: Path) -> Iterator[Headgate]:
    with served(f"file:{folder}/data") as server, Wire(server.port) as wire:
        create(server)
        target = f"{ROUTE}/chat?offset=now&live=sse"
        wire.send(request("GET", target, User_Agent="stalled-client/0.3"))
        wire.head()
        big = b'"' + b"x" * 200_000 + b'"'
        with repeated(lambda: append(server, body=big), 0.05):
            yield server


@contextlib.contextmanager
def flooding_client(folder: Path) -> Iterator[Headgate]:
    with served(f"file:{folder}/data", max_client_appends="20") as server:
        create(server)
        with repeated(lambda: append(server), 0.0):
            yield server


def tokens(folder: Path, *names: str, revoked: str = "") -> Path:
    entries = "\n".join(
        f'[[tokens]]\nname = "{name}"\ntoken = "sha256:{_digest(name)}"\n'
        f'grants = [{{ streams = "{ROUTE}/*", operations = ["read", "append", "create"] }}]\n'
        for name in names
    )
    revocation = f'[[revoked]]\nname = "{revoked}"\n' if revoked else ""
    path = folder / "tokens.toml"
    new = folder / "tokens.new"
    new.write_text(f"{entries}\n{revocation}")
    new.replace(path)
    return path


def _secret(name: str) -> str:
    return f"{name}-0123456789abcdef"


def _digest(name: str) -> str:
    return hashlib.sha256(_secret(name).encode()).hexdigest()


@contextlib.contextmanager
def revoked_token(folder: Path) -> Iterator[Headgate]:
    file = tokens(folder, "shop", "phone")
    with served(f"file:{folder}/data", auth="tokens", tokens_file=str(file)) as server:
        shop, phone = (f"Bearer {_secret(name)}" for name in ("shop", "phone"))
        create(server, Authorization=shop)
        read(server, Authorization=phone)
        tokens(folder, "shop", "phone", revoked="phone")
        wait_until(lambda: read(server, Authorization=phone) == 401, "the file is read")
        with repeated(lambda: read(server, Authorization=phone), 0.2):
            yield server


@contextlib.contextmanager
def fenced_producer(folder: Path) -> Iterator[Headgate]:
    with served(f"file:{folder}/data") as server:
        create(server)

        def produce(epoch: int, seq: int) -> int:
            return append(
                server,
                Producer_Id="billing",
                Producer_Epoch=str(epoch),
                Producer_Seq=str(seq),
            )

        assert produce(2, 0) in {200, 204}
        with repeated(lambda: produce(1, 0), 0.2):
            yield server


@contextlib.contextmanager
def slow_append(folder: Path) -> Iterator[Headgate]:
    disk = FaultyDisk(folder)
    server = Headgate(f"file:{folder}/data", environment=disk.environment)
    try:
        server.start()
        create(server)
        with disk.slow(1500), repeated(lambda: append(server), 0.0):
            yield server
    finally:
        server.close()


@contextlib.contextmanager
def killed_worker(folder: Path) -> Iterator[Headgate]:
    with redis_server(folder) as redis, several(redis.url) as server:
        create(server)
        with repeated(lambda: read(server)):
            time.sleep(6)  # a look of the console, before which nothing can have grown
            os.kill(server.workers()[1], signal.SIGKILL)
            yield server


DRILLS = (
    Drill("origin away", origin_away, ("/", "/routes"), ("cannot be connected to", "/v1/stream")),
    Drill("redis failover", redis_failover, ("/", "/events"), ("another primary",)),
    Drill("full disk", full_disk, ("/",), ("disk",)),
    Drill("hot stream", hot_stream, ("/clients?by=stream",), ("/v1/stream/hot", "147")),
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
        ("refuses requests beyond the limit max_client_appends", "429"),
    ),
    Drill(
        "revoked token",
        revoked_token,
        ("/events", "/clients?show=tokens", "/events?show=refusals"),
        ("revoked: token phone", "the token is revoked"),
    ),
    Drill("fenced producer", fenced_producer, ("/events?show=refusals",), ("403", "epoch")),
    Drill("slow append", slow_append, ("/",), ("append",)),
    Drill("killed worker", killed_worker, ("/", "/events", "/gateways"), ("worker 1 ended",)),
)
