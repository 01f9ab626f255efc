"""Varnish forgets what a gateway tells it to, and takes it from nobody else."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import target as shipped
from tests.cdn.candidates import Candidate
from tests.cdn.read_cases import whole_chunk
from tests.support.http1 import ask, request
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started

if TYPE_CHECKING:
    from tests.cdn.edges import Edge

STRANGER = "127.0.0.2"
PURGING = pytest.mark.parametrize(
    "edge", [Candidate("varnish", purge=True)], indirect=True, ids=str
)


def kept(edge: Edge) -> tuple[str, str]:
    """A target whose answer is kept, and the tag of its stream."""
    target = whole_chunk(edge)
    assert "surrogate-key" not in edge.ask("GET", target).headers, "it is the edge's alone"
    assert is_kept(edge, target)
    tag, _route = edge.at_origin(target).headers["surrogate-key"].split(" ")
    return target, tag


def is_kept(edge: Edge, target: str) -> bool:
    return edge.ask("GET", target).headers["x-cache"] == "HIT"


@PURGING
async def test_a_varnish_ban_evicts_all_responses_with_its_tags_and_no_others(edge: Edge) -> None:
    (target, tag), (second, other), (third, _) = (kept(edge) for _ in range(3))
    assert edge.ask("BAN", "/", Surrogate_Key=f"{tag}|{other}").status == 200
    assert [is_kept(edge, one) for one in (target, second, third)] == [False, False, True]


@PURGING
async def test_a_varnish_purge_evicts_a_url_in_any_order_of_its_query(edge: Edge) -> None:
    target, _ = kept(edge)
    edge.ask("GET", f"{target}&cursor=5")
    path, _, offset = target.partition("?")
    assert edge.ask("PURGE", f"{path}?{offset}&cursor=5").status == 200
    assert not is_kept(edge, f"{path}?cursor=5&{offset}")
    assert is_kept(edge, target)


@PURGING
@pytest.mark.parametrize("tags", ["", ".", "s-0|.*", "s-0 || obj.status == 200", "s-0)|(.*"])
async def test_an_invalid_tag_in_a_varnish_ban_gets_400(edge: Edge, tags: str) -> None:
    target, _ = kept(edge)
    assert edge.ask("BAN", "/", Surrogate_Key=tags).status == 400
    assert is_kept(edge, target)


@PURGING
@pytest.mark.parametrize("method", ["BAN", "PURGE"])
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_a_varnish_purge_relayed_by_a_proxy_gets_403(
    edge: Edge, method: str, header: str
) -> None:
    target, tag = kept(edge)
    relayed = {header: "192.0.2.1", "Surrogate-Key": tag}
    assert edge.ask(method, target, None, **relayed).status == 403
    assert is_kept(edge, target)


@pytest.mark.usefixtures("processes")
@PURGING
@pytest.mark.parametrize("proxy", ["haproxy", "caddy"])
async def test_a_varnish_purge_through_a_proxy_on_the_same_machine_gets_405(
    edge: Edge, proxy: str
) -> None:
    """To Varnish, each of its clients is that machine."""
    target, tag = kept(edge)
    port, front = free_port(), shipped(proxy)
    options = Options(upstream=f"127.0.0.1:{edge.port}", listen=port, standalone=True)
    with started(ENGINES[proxy], {front.file_name: render(front, options)}, port):
        asked = [ask(port, method, target, None, Surrogate_Key=tag) for method in ("BAN", "PURGE")]
    assert [answer.status for answer in asked] == [405, 405]
    assert is_kept(edge, target)


@PURGING
@pytest.mark.parametrize("method", ["BAN", "PURGE"])
async def test_a_varnish_purge_from_another_address_gets_403(edge: Edge, method: str) -> None:
    target, tag = kept(edge)
    with socket.create_connection(("127.0.0.1", edge.port), 10, (STRANGER, 0)) as wire:
        wire.sendall(request(method, target, None, Surrogate_Key=tag))
        assert wire.recv(1 << 16).startswith(b"HTTP/1.1 403 ")
    assert is_kept(edge, target)
