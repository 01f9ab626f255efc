"""Streams behind TLS: what is written, read and followed, and clients that do not fit."""

from __future__ import annotations

import socket
import ssl
import subprocess
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.support.blocking_origin import BlockingOrigin, Exchange
from tests.support.certificates import HERE, Authority
from tests.support.processes import headgate
from tests.support.waiting import wait_until
from tests.tls.served import PATIENCE_S, STREAM, TEXT, SecureHeadgate, ask_on, secure_headgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = bytes(range(256)) * 16_384  # 4 MiB: more than all buffers of a connection


@pytest.fixture(scope="module")
def served(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureHeadgate]:
    folder = tmp_path_factory.mktemp("tls")
    with secure_headgate(folder) as server:
        yield server


def test_a_stream_is_written_and_read_by_tls(served: SecureHeadgate) -> None:
    assert served.ask("PUT", "/v1/stream/w", b"one", TEXT).status == 201
    with served.connect() as secured:
        first = ask_on(secured, "GET", "/v1/stream/w?offset=-1")
        again = ask_on(secured, "GET", "/v1/stream/w?offset=-1")
    assert (first.status, first.body, again.body) == (200, b"one", b"one")
    assert again.headers["X-Cache"] == "HIT"


def test_a_long_body_comes_whole_by_tls(served: SecureHeadgate) -> None:
    binary = {"Content-Type": "application/octet-stream"}
    assert served.ask("PUT", "/v1/stream/long", LONG, binary).status == 201
    received, offset = b"", "-1"
    while len(received) < len(LONG):
        answer = served.ask("GET", f"/v1/stream/long?offset={offset}")
        received += answer.body
        offset = answer.headers["Stream-Next-Offset"]
    assert received == LONG


def test_an_event_reader_gets_what_is_appended_and_another_request(served: SecureHeadgate) -> None:
    served.ask("PUT", "/v1/stream/live", b"first", TEXT)
    with served.connect() as secured:
        request = f"GET /v1/stream/live?offset=-1&live=sse HTTP/1.1\r\nHost: {HERE}\r\n\r\n"
        secured.sendall(request.encode())
        received = b""
        while b"data:first" not in received:
            received += secured.recv(65536)
        served.ask("POST", "/v1/stream/live", b"second", TEXT)
        while b"data:second" not in received:
            received += secured.recv(65536)
        served.ask("POST", "/v1/stream/live", headers={"Stream-Closed": "true"})
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += secured.recv(65536)
        assert ask_on(secured, "GET", "/v1/stream/live?offset=-1").body == b"firstsecond"


def _echo(exchange: Exchange) -> None:
    exchange.answer(exchange.head, "Content-Type: text/plain")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_origin_reads_the_scheme_of_a_listener_with_tls(tmp_path: Path, method: str) -> None:
    with (
        BlockingOrigin(_echo) as origin,
        secure_headgate(tmp_path, origin=origin.url) as secure,
    ):
        echoed = secure.ask(method, "/v1/stream/a", b"text" * (method == "POST"), TEXT).body
    assert b"X-Forwarded-Proto: https\r\n" in echoed
    assert b";proto=https;" in echoed


def test_alpn_offers_http_1_1_alone(served: SecureHeadgate) -> None:
    context = served.authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with served.connect(context) as secured:
        assert secured.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_plain_http_at_a_port_of_tls_gets_400_that_says_https(
    served: SecureHeadgate, method: str
) -> None:
    before = served.failures("plain_http")
    answer = plain_answer(served.server.port, f"{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close" in head
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    assert body == b"This port speaks HTTPS: use a URL that begins with https://\n"
    assert served.failures("plain_http") == before + 1


@pytest.mark.usefixtures("processes")
def test_plain_http_at_the_admin_port_of_tls_gets_400(tmp_path: Path) -> None:
    with secure_headgate(tmp_path, has_secure_admin=True) as server:
        answer = plain_answer(server.server.admin_port, "GET /healthz HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert server.is_ready()


def test_a_client_that_sends_nothing_to_a_port_of_tls_is_cut_after_ten_seconds(
    served: SecureHeadgate,
) -> None:
    before = served.failures("timeout")
    with socket.create_connection((HERE, served.server.port), PATIENCE_S) as plain:
        assert received_until_closed(plain) == b""
    assert served.failures("timeout") == before + 1


def test_a_handshake_that_takes_longer_than_ten_seconds_is_cut(served: SecureHeadgate) -> None:
    before = served.failures("timeout")
    began = monotonic()
    with socket.create_connection((HERE, served.server.port), PATIENCE_S) as plain:
        plain.sendall(b"\x16\x03\x01")  # the first bytes of a ClientHello
        received_until_closed(plain)
    assert 9 < monotonic() - began < PATIENCE_S
    assert served.failures("timeout") == before + 1


def test_clients_that_disconnect_during_the_handshake_are_counted_and_not_logged(
    served: SecureHeadgate,
) -> None:
    before = served.failures("other")
    for beginning in (b"", b"\x16\x03\x01"):
        with socket.create_connection((HERE, served.server.port), PATIENCE_S) as plain:
            plain.sendall(beginning)
    wait_until(lambda: served.failures("other") == before + 2, "both are counted")
    assert "SSL handshake failed" not in served.server.output()


def test_a_malformed_request_gets_400_and_its_connection_ends(served: SecureHeadgate) -> None:
    with served.connect() as secured:
        secured.sendall(b"NO HTTP\r\n\r\n")
        assert received_until_closed(secured).startswith(b"HTTP/1.1 400 ")


@pytest.mark.usefixtures("processes")
def test_curl_and_openssl_are_served(served: SecureHeadgate) -> None:
    served.ask("PUT", STREAM, b"known", TEXT)
    url = f"https://{HERE}:{served.server.port}{STREAM}?offset=-1"
    curl = ["curl", "-sS", "--cacert", str(served.authority.file), url]
    assert subprocess.run(curl, capture_output=True, check=True, timeout=20).stdout == b"known"
    openssl = [
        *("openssl", "s_client", "-brief", "-connect", f"{HERE}:{served.server.port}"),
        *("-CAfile", str(served.authority.file)),
    ]
    told = subprocess.run(openssl, input=b"", capture_output=True, check=True, timeout=20).stderr
    assert b"Verification: OK" in told
    assert b"Protocol version: TLSv1.3" in told


@pytest.mark.usefixtures("processes")
def test_a_version_below_the_minimum_is_refused(tmp_path: Path) -> None:
    with secure_headgate(tmp_path, {"HEADGATE_TLS__MINIMUM_VERSION": "1.3"}) as server:
        context = server.authority.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            server.connect(context)
        assert server.ask("GET", "/").status == 200
        assert server.failures("version") == 1


@pytest.mark.usefixtures("processes")
def test_a_client_needs_a_certificate_of_the_authority_for_clients(tmp_path: Path) -> None:
    clients, strangers = (Authority.of(tmp_path, name) for name in ("clients", "strangers"))
    known, unknown = (
        one.issue("client").write(tmp_path, name)
        for one, name in (
            (clients, "known"),
            (strangers, "unknown"),
        )
    )
    with secure_headgate(tmp_path, {"HEADGATE_TLS__CLIENT_CA": str(clients.file)}) as server:
        for refused in (None, unknown):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                server.ask("GET", "/", context=server.authority.client(refused))
        assert server.ask("GET", "/", context=server.authority.client(known)).status == 200
        wait_until(lambda: server.failures("client_certificate") == 2, "both are counted")


@pytest.mark.usefixtures("processes")
def test_handshakes_take_places_among_the_connections(tmp_path: Path) -> None:
    settings = {"HEADGATE_LIMITS__MAX_CONNECTIONS": "4"}  # half of them for one address
    with secure_headgate(tmp_path, settings) as server:
        address = (HERE, server.server.port)
        silent = [socket.create_connection(address, PATIENCE_S) for _ in range(2)]
        try:
            with socket.create_connection(address, PATIENCE_S) as third:
                assert received_until_closed(third) == b""
        finally:
            for one in silent:
                one.close()
        wait_until(lambda: is_served(server), "the places are free again")


def is_served(server: SecureHeadgate) -> bool:
    try:
        return server.ask("GET", "/").status == 200
    except OSError:
        return False


@pytest.mark.usefixtures("processes")
def test_workers_serve_one_port_by_tls(tmp_path: Path) -> None:
    with headgate() as origin:
        settings = {"HEADGATE_WORKERS": "2"}
        with secure_headgate(tmp_path, settings, f"{origin.url}/v1/stream") as server:
            assert server.ask("PUT", STREAM, b"one", TEXT).status == 201
            for _ in range(8):
                assert server.ask("GET", f"{STREAM}?offset=-1").body == b"one"
            new = server.authority.issue()
            new.replace(server.paths)
            serials = set[int]()

            def are_renewed() -> bool:
                serials.update(found := [server.ask("GET", "/").serial for _ in range(8)])
                return set(found) == {new.serial}

            wait_until(are_renewed, "all workers have the new certificate")


def test_the_location_of_a_created_stream_has_https(served: SecureHeadgate) -> None:
    host = {"Host": "streams.example.com"}
    created = served.ask("PUT", "/v1/stream/located", b"", TEXT | host)
    assert created.headers["Location"] == "https://streams.example.com/v1/stream/located"


def plain_answer(port: int, request: str) -> bytes:
    """All that a port answers to a request without TLS."""
    with socket.create_connection((HERE, port), PATIENCE_S) as plain:
        plain.sendall(request.encode())
        return received_until_closed(plain)


def received_until_closed(client: socket.socket) -> bytes:
    """All that comes until the server has ended the connection."""
    received = b""
    with suppress(ConnectionResetError, ssl.SSLEOFError):
        while piece := client.recv(65536):
            received += piece
    return received
