"""Open the public sockets to Caddy only once it can finish handshakes.

Caddy reads certificates, and issues those of its own authority, in the background, after it has
begun to accept connections: a client that connects in that time gets a TLS alert. So Caddy first
serves its hosts at a Unix socket that only Headgate can reach. Once handshakes succeed there,
Headgate sends it the configuration with the public sockets; Caddy keeps its certificates in memory.
Until then connections wait in the backlog.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from yarl import URL

from headgate_gateway.front.sockets import ADMIN, PRIVATE, short_path
from headgate_gateway.outbound.client import OutboundClient, OutboundRequest
from headgate_gateway.outbound.failures import NoResponse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Certificates are read or issued in milliseconds. One that Caddy cannot use must not keep the ports
# closed, as an authority asks there before it issues another.
LONGEST_PROBE_S = 5.0
BETWEEN_PROBES_S = 0.005
# Caddy opens sockets and starts its apps meanwhile, and may wait for requests of its old
# configuration, of which there are none.
LONGEST_LOAD_S = 15.0


class CannotLoadError(Exception):
    """Caddy has not taken a configuration; the message says why."""


class LoadRefusal(msgspec.Struct):
    """The body with which Caddy refuses a configuration."""

    error: str = ""


async def wait_for_handshakes(folder: Path, hosts: Sequence[str]) -> None:
    """Return once handshakes for all hosts succeed at the private socket, or after 5 s."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the server is our own child process
    try:
        async with asyncio.timeout(LONGEST_PROBE_S):
            with short_path(folder, PRIVATE) as path:
                for host in hosts:
                    await _wait_for_handshake(path, host, context)
    except TimeoutError:
        return


async def _wait_for_handshake(path: str, host: str, context: ssl.SSLContext) -> None:
    while True:
        if await _can_shake_hands(path, host, context):
            return
        await asyncio.sleep(BETWEEN_PROBES_S)


async def _can_shake_hands(path: str, host: str, context: ssl.SSLContext) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path, ssl=context, server_hostname=host)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def load(folder: Path, caddyfile: str) -> None:
    """Have Caddy take another configuration. Raises CannotLoadError."""
    request = OutboundRequest(
        "POST",
        URL("http://127.0.0.1/load"),
        {"Content-Type": "text/caddyfile"},
        caddyfile.encode(),
    )
    with short_path(folder, ADMIN) as path:
        client = OutboundClient("front", lambda: aiohttp.UnixConnector(path))
        try:
            response = await client.call(request, LONGEST_LOAD_S)
        except NoResponse as failure:
            raise CannotLoadError(f"Caddy {failure.why}") from failure
        finally:
            await client.close()
    if response.status != 200:
        raise CannotLoadError(_reason(response.body))


def _reason(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=LoadRefusal).error
    except msgspec.DecodeError:
        return body.decode(errors="replace")
