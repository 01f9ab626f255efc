"""The client of outbound requests before servers that are hostile, broken or not to be trusted."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
from typing import TYPE_CHECKING, NamedTuple

import pytest
from yarl import URL

from headgate_gateway.outbound import client as client_module
from headgate_gateway.outbound import failures
from headgate_gateway.outbound.client import (
    READ_BYTES,
    OutboundClient,
    OutboundRequest,
    usual_connector,
)
from headgate_gateway.outbound.connections import Connector
from headgate_gateway.outbound.failures import NoResponse
from headgate_gateway.protocol.http.destinations import AllowedHosts, allowed_host
from tests.outbound.test_connections import serving
from tests.support.certificates import Authority
from tests.support.http1 import Answer, ask
from tests.support.outbound import OutboundRequests, trusting
from tests.support.processes import ANEW, headgate
from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from aiohttp import BaseConnector

    from tests.support.raw_origin import Play, Wire

PURPOSE = "test"
CALL_S = 0.3
BOMB = gzip.compress(bytes(64 << 20), 9)


def says(data: bytes) -> Play:
    """Answer with these bytes, and close the connection."""

    async def play(wire: Wire) -> None:
        await wire.send(data)
        await wire.close()

    return play


def repeats(head: bytes, part: bytes, pause_s: float = 0.0) -> Play:
    """Answer with a beginning, and with a part without an end."""

    async def play(wire: Wire) -> None:
        await wire.send(head)
        while not wire.is_closing():
            await wire.send(part)
            await asyncio.sleep(pause_s)

    return play


async def resets(wire: Wire) -> None:
    """Reset the connection within the body."""
    await wire.send(OK + b"Content-Length: 100\r\n\r\n{")
    await wire.reset()


def redirects(location: str) -> Play:
    return says(answer(b"", f"Location: {location}", status="302 Found"))


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Outcome(NamedTuple):
    """What a call comes to: how it is counted, and its body, or why there is none."""

    name: str
    body: bytes | str = b""


INVALID = Outcome("invalid", "sent no valid response of HTTP/1.1")
INCOMPLETE = Outcome("broken", "sent a response that is not complete")
NO_RESPONSE = Outcome("broken", "closed the connection without a response")
TOO_LATE = Outcome("timeout", "did not answer within 0.3 s")
CUT = Outcome("2xx", b"x" * READ_BYTES)
FIELDS = b"".join(b"X-%d: x\r\n" % number for number in range(10_000))
HOSTILE: dict[str, tuple[Play, Outcome]] = {
    "a redirect to the metadata of a cloud": (
        redirects("http://169.254.169.254/latest/meta-data"),
        Outcome("3xx"),
    ),
    "a redirect to loopback mapped into IPv6": (
        redirects("http://[::ffff:127.0.0.1]/"),
        Outcome("3xx"),
    ),
    "a redirect to itself": (redirects("/"), Outcome("3xx")),
    "a change of protocol": (
        says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        Outcome("invalid", "answered with the status 101, which has no meaning"),
    ),
    **{
        f"the status {status}": (
            says(answer(b"", status=f"{status} Oh")),
            Outcome("invalid", f"answered with the status {status}, which has no meaning"),
        )
        for status in ("000", "099", "600", "999")
    },
    "the last status of errors": (says(answer(b"", status="599 Oh")), Outcome("5xx")),
    "a body without an end": (repeats(OK + b"\r\n", b"x" * READ_BYTES), CUT),
    "a length of exabytes": (
        repeats(OK + b"Content-Length: 9000000000000000000\r\n\r\n", b"x" * READ_BYTES),
        CUT,
    ),
    "a bomb of zeros": (
        says(answer(BOMB, "Content-Encoding: gzip")),
        Outcome("2xx", BOMB[:READ_BYTES]),
    ),
    "many interim responses without an end": (
        repeats(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000),
        Outcome("too_long", "sent a response that is too long"),
    ),
    "interim responses without an end": (
        repeats(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100, 0.01),
        TOO_LATE,
    ),
    "10,000 header fields": (says(OK + FIELDS + b"\r\n"), INVALID),
    "10,000 fields behind the body": (says(CHUNKED + b"0\r\n" + FIELDS + b"\r\n"), INVALID),
    "a header field of a megabyte": (says(OK + b"X: " + b"x" * (1 << 20) + b"\r\n\r\n"), INVALID),
    "a status line of a megabyte": (says(b"HTTP/1.1 200 " + b"x" * (1 << 20)), INVALID),
    "header fields without an end": (repeats(OK, b"X: x\r\n" * 1_000), INVALID),
    "a header field without an end": (repeats(OK + b"X: ", b"x" * 65_536), INVALID),
    "fields behind the body without an end": (
        repeats(CHUNKED + b"0\r\n", b"X: x\r\n" * 1_000),
        INVALID,
    ),
    "a chunk size without an end": (repeats(CHUNKED, b"0" * 65_536), INCOMPLETE),
    "a chunk extension without an end": (repeats(CHUNKED + b"1;x=", b"x" * 65_536), INCOMPLETE),
    "a head byte by byte": (repeats(OK, b"x", 0.02), TOO_LATE),
    "a body byte by byte": (repeats(CHUNKED, b"1\r\nx\r\n", 0.02), TOO_LATE),
    "a body that stops": (repeats(OK + b"Content-Length: 100\r\n\r\n{", b"", 0.02), TOO_LATE),
    "silence": (repeats(b"", b"", 0.02), TOO_LATE),
    "a body that is cut off": (says(OK + b"Content-Length: 100\r\n\r\n{"), INCOMPLETE),
    "a chunk that is cut off": (says(CHUNKED + b"64\r\n{"), INCOMPLETE),
    "a reset within the body": (resets, INCOMPLETE),
    "no answer": (says(b""), NO_RESPONSE),
    "half a status line": (says(b"HTTP/1."), NO_RESPONSE),
    "another protocol": (says(b"SSH-2.0-OpenSSH_9.7\r\n"), INVALID),
    "a record of TLS": (says(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76" + bytes(118)), INVALID),
    "frames of HTTP/2": (says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)), INVALID),
    "no HTTP": (says(b"hello\n"), INVALID),
    "zeros": (says(bytes(1 << 20)), INVALID),
    "a length below 0": (says(OK + b"Content-Length: -1\r\n\r\n"), INVALID),
    "two lengths": (says(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}"), INVALID),
}


@contextlib.asynccontextmanager
async def client_of(
    connect: Callable[[], BaseConnector] = usual_connector,
) -> AsyncIterator[OutboundClient]:
    client = OutboundClient(PURPOSE, connect)
    try:
        yield client
    finally:
        await client.close()


async def outcome_of(client: OutboundClient, url: str, timeout_s: float = 10.0) -> Outcome:
    """Return what a call comes to."""
    requests = OutboundRequests(PURPOSE)
    body: bytes | str
    try:
        body = (await client.call(OutboundRequest("POST", URL(url), {}), timeout_s)).body
    except NoResponse as failure:
        body = failure.why
    ((name, number),) = requests.by_outcome().items()
    assert number == 1
    return Outcome(name, body)


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_call_of_a_hostile_server_ends_and_is_bounded_and_counted(kind: str) -> None:
    play, outcome = HOSTILE[kind]
    timeout_s = CALL_S if outcome.name == "timeout" else 10.0
    async with RawOrigin(play) as server, client_of() as client:
        assert await outcome_of(client, server.url, timeout_s) == outcome
        assert len(server.heard) == 1, "no redirect is followed"


async def test_a_request_has_only_the_fields_that_it_needs() -> None:
    async with RawOrigin(says(answer(b"fine"))) as server, client_of() as client:
        request = OutboundRequest("POST", URL(server.url), {"X-Own": "1"}, b"{}")
        assert (await client.call(request, 10.0)).body == b"fine"
        named = server.heard[0].named
    del named["host"]
    assert named == {
        "user-agent": "Headgate",
        "accept-encoding": "identity",
        "x-own": "1",
        "content-length": "2",
    }


async def test_a_cookie_is_not_sent_back() -> None:
    async with RawOrigin(answer(b"", "Set-Cookie: a=b")) as server, client_of() as client:
        for _ in range(2):
            await outcome_of(client, server.url)
        assert "cookie" not in server.heard[1].named


async def test_a_body_of_another_status_is_not_waited_for() -> None:
    play = repeats(b"HTTP/1.1 500 Oh\r\n\r\n", b"", 0.01)
    async with RawOrigin(play) as server, client_of() as client:
        request = OutboundRequest("GET", URL(server.url), {})
        response = await client.call(request, 10.0, body_of={200})
        assert (response.status, response.body) == (500, b"")


async def test_a_call_that_its_caller_gives_up_is_not_counted() -> None:
    async def wait(wire: Wire) -> None:
        await wire.rest()

    requests = OutboundRequests(PURPOSE)
    async with RawOrigin(wait) as server, client_of() as client:
        task = asyncio.create_task(outcome_of(client, server.url))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert requests.by_outcome() == {}


# ---------------------------------------------------------------- whom it connects to, and trusts


@pytest.mark.parametrize(
    ("addresses", "name"),
    [
        (["8.8.8.8", "127.0.0.1"], "refused"),
        (["127.0.0.1"], "refused"),
        (["::ffff:127.0.0.1"], "refused"),
        (["169.254.169.254"], "refused"),
    ],
    ids=["two-answers", "loopback", "mapped", "metadata"],
)
async def test_a_host_of_a_client_is_refused_for_any_address_inside(
    addresses: list[str], name: str
) -> None:
    async def look_up(*_: object) -> Sequence[str]:
        return addresses

    hosts = AllowedHosts([allowed_host("http://a.example:*")])
    async with client_of(lambda: Connector(hosts, look_up=look_up)) as client:
        assert (await outcome_of(client, "http://a.example:81/")).name == name


@pytest.mark.parametrize(
    ("issuer", "host", "outcome"),
    [
        ("ours", "localhost", Outcome("2xx", b"safe")),
        ("other", "localhost", Outcome("certificate", "has a certificate that is not trusted")),
        ("ours", "a.example", Outcome("certificate", "has a certificate for another host name")),
    ],
    ids=["trusted", "unknown-authority", "another-name"],
)
async def test_a_server_is_trusted_by_the_authorities_of_the_system(
    issuer: str, host: str, outcome: Outcome, tmp_path: Path
) -> None:
    made = {name: Authority(name, tmp_path / f"{name}.pem") for name in ("ours", "other")}
    files = made[issuer].issue(hosts=(host,)).write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with RawOrigin(says(answer(b"safe")), tls=context) as server, client_of() as client:
        with trusting(made["ours"].file):
            found = await outcome_of(client, server.url)
    assert (found.name, found.body[: len(outcome.body)]) == outcome


async def test_a_server_without_tls_is_counted_so() -> None:
    async with serving() as server, client_of() as client:
        made = await outcome_of(client, f"https://localhost:{server.port}/")
    assert made.name == "tls"


@pytest.mark.usefixtures("processes")
async def test_a_server_reaches_a_provider_by_https(tmp_path: Path) -> None:
    """In a server aiohttp's own context trusts nobody, which tests in one process do not see."""

    def read(upstream: str) -> Answer:
        environment = {
            "HEADGATE_MODELS__0__PREFIX": "/openai",
            "HEADGATE_MODELS__0__UPSTREAM": upstream,
            "HEADGATE_MODELS__0__DIALECT": "openai",
            "HEADGATE_MODELS__0__STREAMS": "/v1/stream/answers",
            "SSL_CERT_FILE": str(authority.file),
        }
        with headgate("memory:", environment=environment, preface=ANEW) as gateway:
            return ask(gateway.port, "GET", "/openai/v1/models")

    authority = Authority("ours", tmp_path / "ours.pem")
    files = authority.issue().write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with RawOrigin(answer(b"{}", "Content-Type: application/json"), tls=context) as server:
        told = await asyncio.to_thread(read, server.url)
    assert (told.status, told.body) == (200, b"{}")


async def test_a_server_that_takes_no_connection_in_time_is_not_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was sent to it, so another server may be asked."""
    for module in (client_module, failures):
        monkeypatch.setattr(module, "CONNECT_S", 0.2)

    async def wait(wire: Wire) -> None:
        await wire.rest()

    async with RawOrigin(wait) as server, client_of() as client:
        found = await outcome_of(client, f"https://localhost:{server.port}/")
    assert found == Outcome("unreachable", "took no connection within 0.2 s")
