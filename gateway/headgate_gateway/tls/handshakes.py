"""Give accepted sockets a TLS transport, after a handshake that is bounded in time.

A client that sends plain HTTP instead gets a 400 in plain text.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiofastnet

from headgate_gateway.telemetry.metrics import Sample, counter
from headgate_gateway.tls.certificate_files import CertificateFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headgate_gateway.settings import TlsFiles
    from headgate_gateway.telemetry.health import HealthNote

# Handshakes that begin in one pass of the loop: 5 ms, for which everybody else waits.
AT_ONCE = 8
LEAST_HANDSHAKE_S = 0.1  # for a client whose first byte came at the last moment
DISCARDED_BYTES = 64 * 1024  # a request's head and more; closing over unread bytes is a reset
# First bytes of an HTTP method; no TLS record begins with one (RFC 8446 section 5.1).
CAPITALS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
HTTP_REFUSAL_BODY = b"This port speaks HTTPS: use a URL that begins with https://\n"
HTTP_REFUSAL = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Cache-Control: no-store\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Connection: close\r\n\r\n%b"
) % (len(HTTP_REFUSAL_BODY), HTTP_REFUSAL_BODY)
SHUTDOWN_S = 1.0  # for the client's close_notify (RFC 8446 section 6.1); few clients send one
# The longest record of TLS with its frame (RFC 8446 section 5.2). Each connection has two buffers,
# which have 256 KiB by default. Each buffer of that size is a memory mapping, of which a process on
# Linux may have 65,530: that would limit it to 32,000 connections.
BUFFER_BYTES = 16 * 1024 + 64
# The label `reason` for names of errors of OpenSSL.
OPENSSL_REASONS = {
    "UNSUPPORTED_PROTOCOL": "version",
    "NO_SHARED_CIPHER": "version",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "client_certificate",
    "CERTIFICATE_VERIFY_FAILED": "client_certificate",
}
# All values of the label; a reset, for example, is "other".
REASONS = ("plain_http", "version", "client_certificate", "timeout", "other")
FAILURES = counter(
    "headgate_tls_handshake_failures_total",
    "TLS handshakes that failed, by the setting of the listener's certificate and by reason.",
    "setting",
    "reason",
)


class PlainHttpRequest(OSError):
    """A client that sends plain HTTP to a port of TLS."""


class HandshakeTurns:
    """The handshakes that wait to begin, in the order in which their clients came.

    Each has a connection and a timeout of its own, which bound how many wait and for how long.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def wait(self) -> None:
        """Return in a pass of the loop in which fewer than AT_ONCE others began."""
        async with self._places:
            await asyncio.sleep(0)  # with the place held: the next one begins in a later pass


class Handshakes:
    """The handshakes of a listener with the certificate that is in use as each begins."""

    def __init__(self, files: TlsFiles, clock: Callable[[], float]) -> None:
        """Read the files, and watch them from now on. Raises StartError if they cannot be used.

        `clock` returns epoch seconds.
        """
        self._clock = clock
        self._certificate = CertificateFiles(files, clock)
        self._certificate.start()
        self._turns = HandshakeTurns()
        self._stopping: set[asyncio.Task[None]] = set()  # files that a reload has replaced
        self.failures = dict.fromkeys(REASONS, 0)

    async def stop(self) -> None:
        """Stop watching the files."""
        await asyncio.gather(self._certificate.stop(), *self._stopping)

    def prepare(self, files: TlsFiles) -> Callable[[], None]:
        """Return a function that uses these files from the next handshake on.

        Raises StartError if they cannot be used; then nothing has changed.
        """
        new = CertificateFiles(files, self._clock, self._certificate.certificate)

        def use() -> None:
            earlier, self._certificate = self._certificate, new
            new.start()
            task = asyncio.get_running_loop().create_task(earlier.stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

        return use

    async def connect(
        self, protocol: asyncio.Protocol, client: socket.socket, timeout_s: float
    ) -> None:
        """Call `connection_made` of the protocol once the handshake is done. Raises OSError.

        A client that sends plain HTTP gets a 400 that says so. It and the handshake have
        `timeout_s` seconds together.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(ends_at):
                first = await _first_byte(loop, client)
                await self._turns.wait()
            if first[0] in CAPITALS:
                _refuse_http(client)
                raise PlainHttpRequest("plain HTTP at a port of TLS")
            await aiofastnet.connect_accepted_socket(
                loop,
                lambda: protocol,
                client,
                ssl=self._certificate.context,
                ssl_handshake_timeout=max(ends_at - loop.time(), LEAST_HANDSHAKE_S),
                ssl_shutdown_timeout=SHUTDOWN_S,
                ssl_incoming_bio_size=BUFFER_BYTES,
                ssl_outgoing_bio_size=BUFFER_BYTES,
            )
        except OSError as error:
            self.failures[reason_of(error)] += 1
            raise

    def notes(self) -> Iterator[HealthNote]:
        """Return what is wrong with the certificate and its files, or that nothing is."""
        return self._certificate.notes()

    def samples(self) -> Iterator[Sample]:
        """Yield the failures by reason, and the samples of the certificate files."""
        setting = self._certificate.setting
        for reason, count in self.failures.items():
            yield Sample(FAILURES, (setting, reason), count)
        yield from self._certificate.samples()


async def _first_byte(loop: asyncio.AbstractEventLoop, client: socket.socket) -> bytes:
    """Return the first byte of a connection, which stays unread. Raises OSError without one."""
    while True:
        try:
            first = client.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(loop, client)
            continue
        if not first:
            raise ConnectionResetError("the client disconnected before its handshake")
        return first


async def _readable(loop: asyncio.AbstractEventLoop, client: socket.socket) -> None:
    """Wait until the client has sent something, or disconnected."""
    has_come = asyncio.Event()
    loop.add_reader(client, has_come.set)
    try:
        await has_come.wait()
    finally:
        loop.remove_reader(client)


def _refuse_http(client: socket.socket) -> None:
    """Send the refusal of plain HTTP to a client, after what it has sent so far is read."""
    client.recv(DISCARDED_BYTES)
    client.send(HTTP_REFUSAL)
    client.shutdown(socket.SHUT_WR)


def log_unless_reset(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the event loop reports, except a client that disconnects during its handshake.

    aiofastnet reports that as the class ConnectionResetError, and so not as an OSError of the
    network. Without this, each TCP health check or port scan would be logged as an error.
    """
    if context.get("exception") is not ConnectionResetError:
        loop.default_exception_handler(context)


def reason_of(error: OSError) -> str:
    """Return why a handshake failed, as one of REASONS."""
    if isinstance(error, PlainHttpRequest):
        return "plain_http"
    if isinstance(error, ssl.SSLError):
        return OPENSSL_REASONS.get(error.reason or "", "other")
    is_timeout = isinstance(error, TimeoutError) or "longer than" in str(error)
    return "timeout" if is_timeout else "other"
