"""A Headgate that speaks TLS, and its clients."""

from __future__ import annotations

import http.client
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.certificates import HERE, Authority, TlsPaths
from tests.support.http1 import ask
from tests.support.processes import Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

STREAM = "/v1/stream/a"
TEXT = {"Content-Type": "text/plain"}
PATIENCE_S = 20.0


class Answer(NamedTuple):
    """A response, and the serial number of the server's certificate."""

    status: int
    headers: dict[str, str]
    body: bytes
    serial: int


class SecureHeadgate(NamedTuple):
    """A running server whose streams are behind TLS, its authority and its files."""

    server: Headgate
    authority: Authority
    paths: TlsPaths

    def connect(
        self, context: ssl.SSLContext | None = None, port: int | None = None
    ) -> ssl.SSLSocket:
        """Connect to the streams or another port, and do the handshake."""
        plain = socket.create_connection((HERE, port or self.server.port), PATIENCE_S)
        try:
            return (context or self.authority.client()).wrap_socket(plain, server_hostname=HERE)
        except BaseException:
            plain.close()
            raise

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        context: ssl.SSLContext | None = None,
        port: int | None = None,
    ) -> Answer:
        """Send a request on a connection of its own."""
        with self.connect(context, port) as secured:
            return ask_on(secured, method, path, body, headers)

    def ask_admin(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Send a request to the admin listener, which is behind TLS as well."""
        return self.ask(method, path, headers=headers, port=self.server.admin_port)

    def is_ready(self) -> bool:
        """Return whether `/readyz` of the admin listener answers 200 by TLS."""
        try:
            return self.ask_admin("GET", "/readyz").status == 200
        except OSError:
            return False

    def metrics(self) -> dict[str, float]:
        """Each sample of `/metrics`, with its labels in its name."""
        text = ask(self.server.admin_port, "GET", "/metrics").body.decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line[:1] != "#"]
        return {name: float(number) for name, _, number in lines}

    def failures(self, reason: str) -> float:
        """How many handshakes have failed for a reason."""
        labels = f'{{reason="{reason}",setting="tls.certificate"}}'
        return self.metrics()[f"headgate_tls_handshake_failures_total{labels}"]


def ask_on(
    secured: ssl.SSLSocket,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send a request on a connection, which stays open."""
    client = http.client.HTTPConnection(HERE, secured.getsockname()[1])
    client.sock = secured
    client.request(method, path, body or None, headers or {})
    response = http.client.HTTPResponse(secured, method=method)
    response.begin()
    content = response.read()
    client.sock = None
    certificate: Any = secured.getpeercert()
    serial = int(certificate["serialNumber"], 16)
    return Answer(response.status, dict(response.headers), content, serial)


@contextmanager
def secure_headgate(
    folder: Path,
    settings: dict[str, str] | None = None,
    origin: str = "memory:",
    *,
    has_secure_admin: bool = False,
) -> Iterator[SecureHeadgate]:
    """Run a server whose streams are behind TLS while the block runs."""
    authority = Authority.of(folder)
    paths = authority.issue().write(folder)
    environment = {**paths.settings(), **(settings or {})}
    if has_secure_admin:
        environment |= paths.settings("ADMIN__TLS")
    server = Headgate(origin, environment=environment)
    secure = SecureHeadgate(server, authority, paths)
    try:
        if has_secure_admin:
            server.spawn()
            wait_until(secure.is_ready, "it is ready", server.output)
        else:
            server.start()
        yield secure
    finally:
        server.close()
