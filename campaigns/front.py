"""`python -m campaigns.front`: Caddy renews the front's certificate while clients come and read.

Caddy looks every ten minutes for certificates to renew, so the run takes eleven. Each second a new
connection reads a stream, and a reader follows it by SSE. It exits with 1 if a request failed, a
message was lost, or the certificate stayed the same.
"""

from __future__ import annotations

import argparse
import secrets
import ssl
import sys
import tempfile
import threading
import time
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from tests.front.acme import authority, serial_number
from tests.support.http1 import ask
from tests.support.processes import ANEW, headgate
from tests.support.waiting import wait_until

# At the first look, after 600 s, less than a third of this is left.
LIFETIME_S = 800
LONGEST_S = 11 * 60
STREAM = "/v1/stream/s"


class Clients:
    """The requests of a run by TLS, and what went wrong."""

    def __init__(self, host: str, root: Path) -> None:
        self._host = host
        self._context = ssl.create_default_context(cafile=str(root))
        self._stopped = threading.Event()
        self.requests = 0
        self.reconnects = 0
        self.received = b""
        self.failures: list[str] = []

    def read(self) -> None:
        """Read the stream on a new connection."""
        try:
            connection = self._connection()
            connection.request("GET", f"{STREAM}?offset=-1")
            status = connection.getresponse().status
            connection.close()
            self.requests += 1
            if status != 200:
                self.failures.append(f"status {status}")
        except (OSError, HTTPException) as error:
            self.failures.append(repr(error))

    def follow(self) -> None:
        """Follow the stream by SSE until `stop`; reconnect where a response ends."""
        offset = "-1"
        while not self._stopped.is_set():
            connection = self._connection()
            try:
                connection.request("GET", f"{STREAM}?offset={offset}&live=sse")
                response = connection.getresponse()
                while (line := response.readline()) and not self._stopped.is_set():
                    if line.startswith(b"data:message"):
                        self.received += line.removeprefix(b"data:").strip() + b"\n"
                    elif b'"streamNextOffset":"' in line:
                        after = line.partition(b'"streamNextOffset":"')[2]
                        offset = after.partition(b'"')[0].decode()
            except (OSError, HTTPException) as error:
                if not self._stopped.is_set():
                    self.failures.append(repr(error))
            finally:
                connection.close()
            self.reconnects += 1

    def stop(self) -> None:
        """Let the follower end after its next line."""
        self._stopped.set()

    def _connection(self) -> HTTPSConnection:
        return HTTPSConnection(self._host, context=self._context, timeout=90)


def main() -> int:
    """Return the exit status."""
    argparse.ArgumentParser(prog="python -m campaigns.front", description=__doc__).parse_args()
    host = "127.{}.{}.{}".format(*(secrets.choice(range(1, 255)) for _ in range(3)))
    arguments = ["--front", host, "--front-listen", f"{host}:443"]
    with (
        tempfile.TemporaryDirectory() as folder,
        authority(Path(folder) / "authority", LIFETIME_S) as (directory, root),
    ):
        environment = {
            "HEADGATE_FRONT__DATA": f"{folder}/front",
            "HEADGATE_FRONT__ACME": directory,
            "SSL_CERT_FILE": str(root),
        }
        with headgate(arguments=arguments, environment=environment, preface=ANEW) as server:
            wait_until(
                lambda: serial_number(host, 443, root) is not None, "it has one", server.output
            )
            return _play(host, root, server.port)


def _play(host: str, root: Path, port: int) -> int:
    first = serial_number(host, 443, root)
    ask(port, "PUT", STREAM, content_type="text/plain")
    clients, written, began = Clients(host, root), b"", time.monotonic()
    follower = threading.Thread(target=clients.follow)
    follower.start()
    renewed_s = None
    while (seconds := time.monotonic() - began) < LONGEST_S and renewed_s is None:
        message = f"message-{int(seconds):04}\n".encode()
        ask(port, "POST", STREAM, message, content_type="text/plain")
        written += message
        clients.read()
        time.sleep(1)
        if serial_number(host, 443, root) not in {first, None}:
            renewed_s = seconds
    wait_until(lambda: clients.received == written or bool(clients.failures), "all is received")
    clients.stop()
    ask(port, "POST", STREAM, b"the last\n", content_type="text/plain")
    follower.join()
    when = "not renewed" if renewed_s is None else f"renewed after {renewed_s:.0f} s"
    sys.stdout.write(
        f"{when}; {clients.requests} requests and {clients.reconnects} connections of a reader, "
        f"{len(clients.failures)} failed: {clients.failures[:3]}\n"
    )
    return 0 if renewed_s is not None and not clients.failures else 1


if __name__ == "__main__":
    sys.exit(main())
