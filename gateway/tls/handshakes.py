"""Give accepted sockets a TLS transport, after a handshake that is bounded in time."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import aiofastnet

from gateway.telemetry.metrics import Sample, counter
from gateway.tls.certificate_files import CertificateFiles

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from gateway.settings import TlsFiles

SHUTDOWN_S = 1.0  # for the client's close_notify (RFC 8446 section 6.1); few clients send one
# The longest record of TLS with its frame (RFC 8446 section 5.2). Each connection has two buffers,
# by the library's default of 256 KiB: such large ones are mappings of their own, of which a process
# may have 65,530 on Linux, so that 32,000 connections would be the most.
BUFFER_BYTES = 16 * 1024 + 64
# The label `reason` for names of errors of OpenSSL.
OPENSSL_REASONS = {
    "HTTP_REQUEST": "plain_http",
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


class Handshakes:
    """The handshakes of a listener with the certificate that is in use as each begins."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files, and watch them from now on. Raises StartError if they cannot be used."""
        self._certificate = CertificateFiles(files)
        self._certificate.start()
        self._stopping: set[asyncio.Task[None]] = set()  # files that a reload has replaced
        self.failures = dict.fromkeys(REASONS, 0)

    async def stop(self) -> None:
        """Stop watching the files."""
        await asyncio.gather(self._certificate.stop(), *self._stopping)

    def prepare(self, files: TlsFiles) -> Callable[[], None]:
        """Return a function that uses these files from the next handshake on.

        Raises StartError if they cannot be used; then nothing has changed.
        """
        new = CertificateFiles(files)

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
        """Call `connection_made` of the protocol once the handshake is done. Raises OSError."""
        loop = asyncio.get_running_loop()
        try:
            await aiofastnet.connect_accepted_socket(
                loop,
                lambda: protocol,
                client,
                ssl=self._certificate.context,
                ssl_handshake_timeout=timeout_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
                ssl_incoming_bio_size=BUFFER_BYTES,
                ssl_outgoing_bio_size=BUFFER_BYTES,
            )
        except OSError as error:
            self.failures[reason_of(error)] += 1
            raise

    def samples(self) -> Iterator[Sample]:
        """Yield the failures by reason, and the samples of the certificate files."""
        setting = self._certificate.setting
        for reason, count in self.failures.items():
            yield Sample(FAILURES, (setting, reason), count)
        yield from self._certificate.samples()


def log_unless_reset(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the event loop reports, except a client that disconnects during its handshake.

    aiofastnet reports that as the class ConnectionResetError, and so not as an OSError of the
    network. Without this, each TCP health check or port scan would be logged as an error.
    """
    if context.get("exception") is not ConnectionResetError:
        loop.default_exception_handler(context)


def reason_of(error: OSError) -> str:
    """Return why a handshake failed, as one of REASONS."""
    if isinstance(error, ssl.SSLError):
        return OPENSSL_REASONS.get(error.reason or "", "other")
    is_timeout = isinstance(error, TimeoutError) or "longer than" in str(error)
    return "timeout" if is_timeout else "other"
