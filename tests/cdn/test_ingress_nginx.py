"""The annotations for ingress-nginx, as the controller writes them for nginx, in a real nginx."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_cdn.targets import target
from headgate_gateway.settings import Settings
from tests.cdn import ingress_nginx, live_cases, read_cases, sse_cases
from tests.cdn.candidates import LACKS
from tests.cdn.edges import Edge
from tests.cdn.origin import AGED, AGED_LIFETIME_S, AGED_S
from tests.support.http1 import Client, ask, request
from tests.support.listener import Listener
from tests.support.ports import free_port
from tests.support.proxy_engines import Nginx, started
from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn.cases import Case
    from tests.cdn.origin import HeadgateOrigin

VIEWERS = 20
SHORT_S = 1  # less than a poll of these tests
ABOVE_1_MB = 1_100_000
CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        live_cases.polls_with_news,
        live_cases.polls_without_news,
        sse_cases.events,
        sse_cases.event_reader_resumes,
        read_cases.large_append,
        read_cases.writes,
        read_cases.head_around_append,
        read_cases.encoded_slash,
        read_cases.age,
    )
}


@dataclass(frozen=True, slots=True)
class Ports:
    """Of one nginx: an Ingress with the annotations, one without, and one that ends polls."""

    annotated: int
    bare: int
    impatient: int


def made(settings: Settings) -> str:
    options = from_settings(settings, host="streams.example.com", upstream="headgate.prod:4437")
    return render(target("ingress-nginx"), options)


@pytest.fixture(scope="module")
def ports(processes: None, origin: HeadgateOrigin) -> Iterator[Ports]:
    ports = Ports(free_port(), free_port(), free_port())
    annotated = ingress_nginx.annotations_of(made(origin.settings))
    impatient = {**annotated, "proxy-read-timeout": str(SHORT_S)}
    servers = (
        ingress_nginx.server(ports.annotated, origin.port, annotated),
        ingress_nginx.server(ports.bare, origin.port, {}),
        ingress_nginx.server(ports.impatient, origin.port, impatient),
    )
    with started(Nginx(), {"nginx.conf": ingress_nginx.whole(servers)}, ports.annotated):
        yield ports


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_ingress_nginx_with_the_annotations_lacks_only_what_a_cache_adds(
    ports: Ports, origin: HeadgateOrigin, case: Case
) -> None:
    passes_on = frozenset().union(*LACKS.values())
    edge = Edge(ports.annotated, origin, passes_on, viewers=VIEWERS)
    found = await case(edge)
    assert found.faults == found.looked_for & passes_on, found.figures


def test_a_copy_through_ingress_nginx_has_its_age_and_the_request_id_of_its_own_reader(
    ports: Ports, origin: HeadgateOrigin
) -> None:
    target = f"{origin.path(AGED)}?offset=0000"
    for name, found in (("first", "MISS"), ("second", "HIT")):
        told = ask(ports.annotated, "GET", target, X_Request_Id=name)
        assert (told.get("X-Request-Id"), told.get("X-Cache")) == (name, found)
        assert int(told.get("Age") or 0) >= AGED_S
        assert told.get("Cache-Control") == f"max-age={AGED_LIFETIME_S}"


def test_ingress_nginx_without_the_annotations_refuses_an_append_above_1_mb(
    ports: Ports, origin: HeadgateOrigin
) -> None:
    path, body = origin.path(), os.urandom(ABOVE_1_MB)
    assert ask(ports.bare, "PUT", path, Content_Type="application/octet-stream").status == 201
    sent = {"Content_Type": "application/octet-stream"}
    assert ask(ports.bare, "POST", path, body, **sent).status == 413
    assert ask(ports.annotated, "POST", path, body, **sent).status in {200, 204}


def test_an_ingress_read_timeout_below_the_long_poll_gives_504(
    ports: Ports, origin: HeadgateOrigin
) -> None:
    stream = Edge(ports.annotated, origin).stream(b"before")
    poll = stream.poll(stream.tail)
    assert [ask(port, "GET", poll).status for port in (ports.impatient, ports.annotated)] == [
        504,
        204,
    ]


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        (Settings(), "65"),
        (Settings(live={"long_poll_timeout": 60}), "105"),
        (Settings(live={"sse_heartbeat": 120}), "360"),
    ],
    ids=["default", "poll", "heartbeat"],
)
def test_ingress_timeouts_exceed_long_polls_and_lost_heartbeats(
    settings: Settings, seconds: str
) -> None:
    annotated = ingress_nginx.annotations_of(made(settings))
    assert annotated["proxy-read-timeout"] == annotated["proxy-send-timeout"] == seconds


@pytest.mark.usefixtures("processes")
async def test_ingress_nginx_streams_an_append_to_the_gateway_while_it_is_sent() -> None:
    seen, port = asyncio.Event(), free_port()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b"the first half"))
        seen.set()
        writer.close()

    annotated = ingress_nginx.annotations_of(made(Settings()))
    async with Listener(serve) as origin:
        server = ingress_nginx.server(port, origin.port, annotated)
        with started(Nginx(), {"nginx.conf": ingress_nginx.whole([server])}, port):
            client = await Client.connect(port)
            head = request("POST", "/v1/stream/s", b"the first half, and the other")
            client.send(head.removesuffix(b", and the other"))
            async with asyncio.timeout(10):
                await seen.wait()
            client.close()


@pytest.mark.usefixtures("processes")
async def test_the_ingress_config_map_removes_a_forged_forwarded_header() -> None:
    resources, port = ingress_nginx.documents(made(Settings())), free_port()
    async with RawOrigin(answer(b"data", "Cache-Control: no-store")) as origin:
        annotated = ingress_nginx.annotations_of(made(Settings()))
        headers = resources["ConfigMap"]["data"]
        server = ingress_nginx.server(port, origin.port, annotated, headers)
        with started(Nginx(), {"nginx.conf": ingress_nginx.whole([server])}, port):
            client = await Client.connect(port)
            client.send(
                request("GET", "/s", None, Forwarded="for=192.0.2.1", X_Forwarded_For="192.0.2.2")
            )
            await client.answer()
            client.close()
        named = origin.heard[-1].named
        assert "forwarded" not in named
        assert named["x-forwarded-for"] == "127.0.0.1"
