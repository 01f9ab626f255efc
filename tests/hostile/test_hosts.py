"""A page whose name leads to this machine (S3): to its browser this server is the page's own, so it
may read and write. Only the host that it names tells; where hosts are named, others are refused.
"""

from __future__ import annotations

import pytest

from headgate_gateway.routes.services import ServedHosts
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, edge_serving

SERVED = ("streams.example", "Streams.Example", "streams.example:8080", "other.example:80")
OF_THIS_MACHINE = ("localhost:4437", "127.0.0.1:4437", "[::1]:4437", "LOCALHOST")
NOT_SERVED = (
    *("evil.example", "evil.example:4437", "streams.example.evil", "evilstreams.example", ""),
    *("streams.example.", "127.0.0.2", "127.0.0.1.evil.example", "[::2]", "0.0.0.0", "2130706433"),
)


def asked(method: str, target: str, host: str, *lines: str) -> bytes:
    length = ("Content-Length: 1", "Content-Type: text/plain") if method in {"PUT", "POST"} else ()
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", *length, *lines, "", ""]
    return "\r\n".join(head).encode() + (b"x" if length else b"")


@pytest.mark.parametrize("prefix", [PREFIX, EDGE])
async def test_a_host_that_is_not_configured_is_refused_with_421_on_both_paths(prefix: str) -> None:
    kept = answer(b"kept", "Cache-Control: max-age=60", status="200 OK")
    named = ("streams.example", "Other.Example")
    async with RawOrigin(kept) as origin, edge_serving(origin, hosts=named) as gateway:
        for host in (*SERVED, *OF_THIS_MACHINE):
            for method in ("PUT", "POST", "GET", "GET", "HEAD"):
                told = await gateway.ask(asked(method, f"{prefix}/s", host))
                assert told.status < 300, (method, host)
        heard = len(origin.heard)
        for host in NOT_SERVED:
            for method in ("PUT", "POST", "GET", "HEAD", "DELETE", "OPTIONS"):
                for lines in ((), ("X-Request-Id:ordinary",), (f"Origin: http://{host}",)):
                    told = await gateway.ask(asked(method, f"{prefix}/s", host, *lines))
                    assert told.status == 421, (method, host)
            # Load balancers check health by address; it says nothing of the streams.
            assert (await gateway.ask(asked("GET", "/healthz", host))).status == 200, host
        by_url = asked("GET", "http://probed.example/healthz", "probed.example")
        assert (await gateway.ask(by_url)).status == 200
        assert len(origin.heard) == heard
        assert (await gateway.ask(asked("GET", f"{prefix}/s", "localhost"))).status == 200


async def test_any_host_is_answered_when_no_hosts_are_configured() -> None:
    async with RawOrigin(answer(b"x")) as origin, edge_serving(origin) as gateway:
        for host in (*SERVED, *NOT_SERVED):
            assert (await gateway.ask(asked("GET", f"{EDGE}/s", host))).status == 200


@pytest.mark.parametrize("host", ["10.0.0.5", "fd00::5", "::1"])
def test_the_listen_host_is_served_beside_the_configured_hosts(host: str) -> None:
    served = ServedHosts(("a",), host)
    shown = f"[{host}]" if ":" in host else host
    assert served.serves(shown)
    assert served.serves(f"{shown}:4437")
    assert not served.serves("b")
