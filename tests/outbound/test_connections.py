"""Connections to hosts that clients name: real lookups, real sockets, real redirects."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from headgate_gateway.outbound.connections import AddressRefused, Connector, addresses_of
from headgate_gateway.protocol.http.destinations import AllowedHosts, allowed_host
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.outbound.connections import LookUp

OPEN = AllowedHosts([allowed_host("http://localhost:*")])
INSIDE = AllowedHosts([], [allowed_host("http://localhost:*")])


class Server:
    """A server on loopback that counts its connections, and redirects where it is told to."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.location = ""

    async def handle(self, _: web.BaseRequest) -> web.Response:
        self.connections += 1
        if self.location:
            return web.Response(status=302, headers={"Location": self.location})
        return web.Response(text="inside")


@contextlib.asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    runner = web.ServerRunner(web.Server(server.handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


async def get(
    hosts: AllowedHosts,
    url: str,
    look_up: LookUp = addresses_of,
    trust: ssl.SSLContext | bool = True,
) -> str:
    """Return the body of a response, over a judged connection."""
    connector = Connector(hosts, look_up=look_up)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, ssl=trust) as response,
    ):
        return await response.text()


async def is_refused(hosts: AllowedHosts, url: str, look_up: LookUp = addresses_of) -> bool:
    """Return whether a request that gets no connection is refused."""
    with pytest.raises(aiohttp.ClientConnectorError) as failure:
        await get(hosts, url, look_up)
    return isinstance(failure.value.os_error, AddressRefused)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
async def test_a_host_on_loopback_is_not_connected_to(host: str) -> None:
    async with serving() as server:
        assert await is_refused(OPEN, f"http://{host}:{server.port}/")
        assert server.connections == 0


async def test_a_permitted_host_on_loopback_is_connected_to() -> None:
    async with serving() as server:
        assert await get(INSIDE, f"http://localhost:{server.port}/") == "inside"


async def test_a_redirect_from_a_permitted_host_to_a_refused_address_is_not_followed() -> None:
    async with serving() as first, serving() as second:
        first.location = f"http://127.0.0.1:{second.port}/"
        assert await is_refused(INSIDE, f"http://localhost:{first.port}/")
        assert (first.connections, second.connections) == (1, 0)


async def test_a_name_with_one_refused_address_among_public_ones_is_refused() -> None:
    async def looked_up(*_: object) -> list[str]:
        return ["8.8.8.8", "127.0.0.1"]

    async with serving() as server:
        url = f"http://rebinding.example:{server.port}/"
        assert await is_refused(OPEN, url, looked_up)
        assert server.connections == 0


async def test_the_connection_goes_to_the_judged_address_without_a_second_lookup() -> None:
    async def looked_up(*_: object) -> list[str]:
        return [answers.pop(0)]

    answers = ["127.0.0.1", "169.254.169.254"]  # of a name server that rebinds the name
    hosts = AllowedHosts([], [allowed_host("http://rebinding.example:*")])
    async with serving() as server:
        url = f"http://rebinding.example:{server.port}/"
        assert await get(hosts, url, looked_up) == "inside"
        assert await is_refused(hosts, url, looked_up)
    assert not answers


async def test_a_name_that_cannot_be_looked_up_is_no_refusal() -> None:
    async def looked_up(*_: object) -> list[str]:
        raise OSError("no such name")

    assert not await is_refused(OPEN, "http://nowhere.example/", looked_up)


async def test_the_certificate_has_to_name_the_host_and_not_the_judged_address(
    tmp_path: Path,
) -> None:
    async def looked_up(*_: object) -> list[str]:
        return ["127.0.0.1"]

    authority = Authority("Ours", tmp_path / "ca.pem")
    files = authority.issue().write(tmp_path)  # for localhost and 127.0.0.1
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    trust = ssl.create_default_context(cafile=str(authority.file))
    hosts = AllowedHosts([], [allowed_host("localhost:*"), allowed_host("other.example:*")])
    async with serving(context) as server:
        url = f"https://localhost:{server.port}/"
        assert await get(hosts, url, looked_up, trust) == "inside"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(hosts, f"https://other.example:{server.port}/", looked_up, trust)
        assert server.connections == 1


async def test_a_host_that_no_international_name_stands_behind_is_judged_as_it_is_written() -> None:
    async def looked_up(host: str, *_: object) -> list[str]:
        assert host == "xn--a.example"
        return ["127.0.0.1"]

    async with serving() as server:
        url = f"http://xn--a.example:{server.port}/"
        assert await is_refused(OPEN, url, looked_up)
        hosts = AllowedHosts([], [allowed_host("http://xn--a.example:*")])
        assert await get(hosts, url, looked_up) == "inside"
