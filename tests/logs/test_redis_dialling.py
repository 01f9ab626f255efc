"""Connections that redis-py opens and our pipelines take over: as whom, how, and what is left."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import re
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

import hiredis
import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.logs.redis.connection import LOST, Unreachable
from headgate_gateway.logs.redis.connector import ONLY, RedisConnector, RedisSettings
from tests.support.certificates import Authority
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.gated_log import turns
from tests.support.listener import Listener
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tests.support.redis_servers import RedisServer
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from headgate_gateway.logs.redis.connection import RedisConnection

FOR_EVER_S = 600.0
LONG_S = 20.0  # a server that answers does so in far less
SLACK_S = 3.0  # of a busy machine; far less than the 30 s for which TLS waits for its own end
STEPS = 40  # turns of the loop, in which a silent server has been asked and is waited for
LOGIN = "?sentinel_username=w&sentinel_password=pw"
OK = b"+OK\r\n"
ESTABLISHED = 1  # as Linux numbers the states of a TCP connection


class Ways(NamedTuple):
    """A Redis with a user, and the URL of it by each way."""

    urls: dict[str, str]
    authorities: str


@pytest.fixture(scope="module")
def ways(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    authority = Authority("ours", folder / "ours.pem")
    paths = authority.issue().write(folder)
    options = {
        "user": ["default off", "someone on >p:w ~* &* +@all"],
        "tls-port": str(port),
        "tls-cert-file": str(paths.certificate),
        "tls-key-file": str(paths.key),
        "tls-ca-cert-file": str(authority.file),
        "tls-auth-clients": "no",
        "unixsocket": str(folder / "s"),
    }
    server = RedisServer(folder, options=options)
    login = "someone:p%3Aw@"
    urls = {
        "TCP": f"redis://{login}127.0.0.1:{server.port}/3",
        "TLS": f"rediss://{login}127.0.0.1:{port}/3",
        "a socket": f"redis+unix://{login}{folder / 's'}?db=3",
    }
    try:
        server.spawn()
        yield Ways(urls, str(authority.file))
    finally:
        server.kill()


async def _connected(url: str, authorities: str = "") -> RedisConnection:
    settings = RedisSettings(parse_redis(url), tls_ca=authorities)
    return await RedisConnector(settings).connect(ONLY)


@pytest.mark.parametrize("way", ["TCP", "TLS", "a socket"])
async def test_a_connection_has_the_user_the_database_and_our_name_by_each_way(
    ways: Ways, way: str
) -> None:
    connection = await _connected(ways.urls[way], ways.authorities)
    try:
        gc.collect()  # what redis-py has made must not close what we have taken over
        told = (await connection.ask("CLIENT", "INFO")).decode().split()
        fields = dict(field.split("=", 1) for field in told)
        expected = {"user": "someone", "db": "3", "name": "headgate", "resp": "2"}
        assert {name: fields[name] for name in expected} == expected
    finally:
        connection.close()


async def test_an_authority_that_is_not_trusted_is_reported_without_an_address(ways: Ways) -> None:
    with pytest.raises(Unreachable) as refusal:
        await _connected(ways.urls["TLS"])
    assert refusal.value.why == "self-signed certificate in certificate chain"


@pytest.mark.parametrize("way", ["TCP", "TLS", "a socket"])
async def test_a_wrong_password_is_reported_by_each_way(ways: Ways, way: str) -> None:
    with pytest.raises(Unreachable) as refusal:
        await _connected(ways.urls[way].replace("p%3Aw", "other"), ways.authorities)
    assert refusal.value.why == NOT_ADMITTED


class Peer(Listener):
    """A sentinel that says what it is told to for each command, and then perhaps hangs up."""

    def __init__(
        self, *replies: bytes, hangs_up: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(self._serve, tls=tls)
        self.connections = 0
        self.heard: list[list[str]] = []
        self._replies = list(replies)
        self._hangs_up = hangs_up

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        commands = hiredis.Reader(notEnoughData=...)
        while data := await reader.read(1 << 16):
            commands.feed(data)
            while (command := commands.gets()) is not ...:
                self.heard.append([word.decode() for word in command])
                if self._replies:
                    writer.write(self._replies.pop(0))
                if self._hangs_up and not self._replies:
                    return

    def connector(self, login: str = "", *, within_s: float = LONG_S) -> RedisConnector:
        origin = parse_redis(f"redis+sentinel://127.0.0.1:{self.port}/any{login}")
        return RedisConnector(RedisSettings(origin, within_s))

    async def connect(self, login: str = "") -> RedisConnection:
        connector = self.connector(login)
        return await connector.connect_sentinel(connector.origin.nodes[0])


async def test_login_takes_two_commands_of_the_older_protocol_and_no_others() -> None:
    async with Peer(OK, OK) as peer:
        (await peer.connect(LOGIN)).close()
        assert peer.heard == [["AUTH", "w", "pw"], ["CLIENT", "SETNAME", "headgate"]]


NOT_ADMITTED = "Redis does not take the user name or password, or asks for one"
NO_RIGHT = "NOPERM User w has no permissions to run the 'client|setname' command"
REFUSALS = {
    "wrong password": ("-WRONGPASS invalid username-password pair", NOT_ADMITTED),
    "no password": ("-NOAUTH Authentication required.", NOT_ADMITTED),
    "no right": (f"-{NO_RIGHT}", f"the Redis user may not do what Headgate needs ({NO_RIGHT})"),
    "too many": ("-ERR max number of clients reached", "max number of clients reached"),
    "unwanted password": (
        "-ERR Client sent AUTH, but no password is set",
        "Client sent AUTH, but no password is set",
    ),
    "protected mode": ("-DENIED Redis is protected", "DENIED Redis is protected"),
    "loading": ("-LOADING Redis is loading the dataset in memory", "Redis is loading its data"),
    "no Redis": ("HTTP/1.1 400 Bad Request", LOST),
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_refused_login_is_reported_in_words_and_not_repeated(kind: str) -> None:
    said, why = REFUSALS[kind]
    async with Peer(f"{said}\r\n".encode()) as peer:
        with pytest.raises(Unreachable) as refusal:
            await peer.connect(LOGIN)
        assert refusal.value.why == why
        assert peer.connections == 1


async def test_a_connection_that_ends_during_its_login_is_reported_and_not_repeated() -> None:
    async with Peer(hangs_up=True) as peer:
        with pytest.raises(Unreachable) as refusal:
            await peer.connect(LOGIN)
        assert refusal.value.why == LOST
        assert peer.connections == 1


async def test_a_connection_that_ends_with_its_login_is_lost_at_once() -> None:
    async with Peer(OK, OK, hangs_up=True) as peer:
        connection = await peer.connect(LOGIN)
        lost = asyncio.get_running_loop().create_future()
        connection.start(lambda _: None, lost.set_result)
        await asyncio.wait_for(lost, SLACK_S)


async def test_a_silent_server_is_reported_after_the_connect_timeout() -> None:
    async with Peer() as peer:
        connector = peer.connector(within_s=0.1)
        with pytest.raises(Unreachable) as refusal:
            await connector.connect_sentinel(connector.origin.nodes[0])
        assert refusal.value.why == "no answer in time"
        await until(lambda: not peer.open)


# ---------------------------------------------------------------- cancellation


@contextlib.asynccontextmanager
async def _silent(way: str, folder: Path) -> AsyncIterator[tuple[RedisConnector, list[object]]]:
    """A connector to a server that says nothing, and the connections that the server has."""
    authority = Authority("ours", folder / "ours.pem")
    open_now: list[object] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.append(writer)
        try:
            await reader.read()
        finally:
            open_now.remove(writer)
            writer.transport.abort()

    if way == "a socket":
        server = await asyncio.start_unix_server(say_nothing, folder / "s")
        by_socket = parse_redis(f"redis+unix://{folder / 's'}")
        async with server:
            yield RedisConnector(RedisSettings(by_socket, FOR_EVER_S)), open_now
        return
    tls = _tls_server(authority, folder) if way == "TLS" else None
    async with Listener(say_nothing, tls=tls) as listener:
        scheme = "redis" if tls is None else "rediss"
        origin = parse_redis(f"{scheme}://127.0.0.1:{listener.port}")
        yield RedisConnector(RedisSettings(origin, FOR_EVER_S, str(authority.file))), open_now


def _tls_server(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue().write(folder))
    return context


@pytest.mark.parametrize("way", ["TCP", "TLS", "a socket"])
async def test_an_attempt_that_is_cancelled_at_any_step_leaves_no_connection(
    tmp_path: Path, way: str
) -> None:
    async with _silent(way, tmp_path) as (connector, open_now):
        for steps in range(STEPS):
            making = asyncio.ensure_future(connector.connect(ONLY))
            await turns(steps)
            making.cancel()
            await asyncio.wait({making}, timeout=SLACK_S)
            assert making.cancelled(), steps
            await turns(3)  # the server may accept it after it has ended
            await until(lambda: not open_now, within_s=SLACK_S)


async def test_a_cancelled_login_does_not_wait_for_a_frozen_server_to_end_its_tls(
    tmp_path: Path,
) -> None:
    authority = Authority("ours", tmp_path / "ours.pem")
    context = _tls_server(authority, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(LONG_S)
        origin = parse_redis(f"rediss://127.0.0.1:{listening.getsockname()[1]}")
        settings = RedisSettings(origin, FOR_EVER_S, str(authority.file))
        making = asyncio.ensure_future(RedisConnector(settings).connect(ONLY))
        connection, _ = await asyncio.to_thread(listening.accept)
        connection.settimeout(LONG_S)
        with await asyncio.to_thread(context.wrap_socket, connection, server_side=True) as frozen:
            await asyncio.to_thread(frozen.recv, 1 << 16)  # the first command of the login
            making.cancel()
            await asyncio.wait({making})
            await until(lambda: _state(frozen) != ESTABLISHED, within_s=SLACK_S)


def _state(connection: socket.socket) -> int:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


# ---------------------------------------------------------------- names


def test_private_names_of_redis_py_are_used_by_one_function_alone() -> None:
    users: dict[str, set[str]] = {}
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        source = path.read_text()
        if "redis.asyncio" not in source:
            continue
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                users.setdefault(function.name, set()).update(_private_names(function))
    found = {name: names for name, names in users.items() if names}
    # The second is defined in the first.
    assert found == {"open_connection": {"_reader", "_writer"}, "log_in": {"_writer"}}


def _private_names(function: ast.AST) -> set[str]:
    """The private attributes of anything but `self`."""
    attributes = [node for node in ast.walk(function) if isinstance(node, ast.Attribute)]
    return {
        node.attr
        for node in attributes
        if re.match(r"_[^_]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }
