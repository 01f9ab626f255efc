"""Addresses that a client makes up do not reach the gateway through any engine."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_gateway.settings import Settings
from tests.support.http1 import Client, request
from tests.support.ports import accepts, free_port
from tests.support.proxy_engines import ENGINES, run_here, started
from tests.support.raw_origin import RawOrigin, answer
from tests.support.waiting import until

LISTENING = ("nginx", "nginx-njs", "haproxy", "caddy")  # the others are told where to listen
OF_VENDORS = ("cloudflare-worker", "cloudflare-durable", "vercel")  # who write X-Forwarded-For
MADE_UP = {"Forwarded": "for=198.51.100.1", "X_Forwarded_For": "198.51.100.2"}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ENGINES)
async def test_each_proxy_removes_forged_forwarded_headers(
    name: str,
) -> None:
    whole, port = run_here(name), free_port()
    async with RawOrigin(answer(b"data", "Cache-Control: no-store")) as origin:
        options = from_settings(
            Settings(),
            upstream=f"127.0.0.1:{origin.port}",
            listen=port,
            standalone=whole.can_stand_alone,
        )
        targets = (whole, *map(run_here, whole.beside))
        files = {one.file_name: render(one, options) for one in targets}
        with started(ENGINES[name], files, port):
            client = await Client.connect(port)
            for method, body in (("GET", None), ("HEAD", None), ("POST", b"x")):
                client.send(request(method, "/v1/stream/s", body, **MADE_UP))
                head = await client.head()
                if method != "HEAD":
                    await client.whole(head)
            client.close()
        heard = [one for one in origin.heard if one.target.startswith("/v1/stream")]
        assert {one.method for one in heard} >= {"POST"}
        for one in heard:
            assert "forwarded" not in one.named, one
            if name not in OF_VENDORS:
                told = one.named.get("x-forwarded-for", "127.0.0.1")
                last = told.rpartition(",")[2].strip()
                # For a client on its machine Envoy names the machine's own address.
                assert last == "127.0.0.1" or (name == "envoy" and last != "198.51.100.2"), one


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", LISTENING)
async def test_each_proxy_listens_at_ipv6_and_passes_the_address_of_its_client_on(
    name: str,
) -> None:
    port = free_port()
    async with RawOrigin(answer(b"data", "Cache-Control: no-store")) as origin:
        upstream = f"127.0.0.1:{origin.port}"
        options = from_settings(Settings(), upstream=upstream, listen=port, standalone=True)
        targets = map(run_here, (name, *run_here(name).beside))
        files = {one.file_name: render(one, options) for one in targets}
        with started(ENGINES[name], files, port):
            for host in ("::1", "127.0.0.1"):
                await until(partial(accepts, port, host))  # it opens one after the other
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(request("HEAD", "/v1/stream/s", None))
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
                writer.close()
                assert origin.heard[-1].named["x-forwarded-for"] == host
