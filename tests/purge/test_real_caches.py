"""Real caches with the configurations that are shipped: what they kept of a stream goes with it."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import target
from tests.support.given_settings import variables
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.proxy_engines import ENGINES, started
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http1 import Answer

pytestmark = pytest.mark.usefixtures("processes")

PREFIX = "/v1/stream"
# A closed stream's data at an offset of its own may be kept for a minute.
FROM_THE_FIRST = "?offset=0000000000000000_0000000000000000"
SOON_S = 20.0


@contextmanager
def cache(kind: str, port: int, gateway: int) -> Iterator[None]:
    """A cache that takes purges, at a port in front of a gateway's."""
    shipped = target(kind)
    upstream = f"127.0.0.1:{gateway}"
    options = Options(upstream=upstream, listen=port, purge=True, standalone=True)
    with started(ENGINES[kind], {shipped.file_name: render(shipped, options)}, port):
        yield


def purging(kind: str, port: int) -> dict[str, str]:
    """The environment of a gateway behind such a cache."""
    return {**variables({"purges": [{"kind": kind, "url": f"http://127.0.0.1:{port}"}]})}


def create(port: int, name: str) -> None:
    fields = {"Content_Type": "text/plain", "Stream_Closed": "true"}
    assert ask(port, "PUT", f"{PREFIX}/{name}", b"secret", **fields).status == 201


def read(port: int, name: str) -> Answer:
    return ask(port, "GET", f"{PREFIX}/{name}{FROM_THE_FIRST}")


def is_hit(got: Answer) -> bool:
    """Whether Varnish answered by itself: then it names also the request that brought it."""
    return (got.status, got.body) == (200, b"secret") and " " in (got.get("X-Varnish") or "")


def metric(port: int, name: str) -> float:
    lines = ask(port, "GET", "/metrics").body.decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def noted(port: int) -> str:
    """What the gateway says of its parts; it serves all the same."""
    answer = ask(port, "GET", "/readyz?verbose")
    assert answer.status == 200
    return answer.body.decode()


def test_a_stream_deleted_by_one_worker_is_gone_from_varnish() -> None:
    """The streams are another server's, so that several workers may serve them."""
    port = free_port()
    workers, environment = ("--workers", "2"), purging("varnish", port)
    with (
        headgate() as origin,
        headgate(origin.url, arguments=workers, environment=environment) as gateway,
        cache("varnish", port, gateway.port),
    ):
        for name in ("s", "other"):
            create(port, name)
            wait_until(lambda: metric(gateway.admin_port, "headgate_purges_waiting") == 0)
        for name in ("s", "other"):
            read(port, name)
            assert is_hit(read(port, name))
        assert ask(port, "DELETE", f"{PREFIX}/s").status == 204
        wait_until(lambda: read(port, "s").status == 404, within_s=SOON_S)
        assert is_hit(read(port, "other"))
        done = 'headgate_purges_total{cache="varnish",result="done"}'
        assert metric(gateway.admin_port, done) == 3  # two began there, as far as is known here


def test_a_failed_purge_is_shown_as_waiting_until_varnish_is_back() -> None:
    port = free_port()
    note = f"purge varnish 127.0.0.1:{port}"
    with headgate(environment=purging("varnish", port)) as gateway:
        create(gateway.port, "s")
        assert ask(gateway.port, "DELETE", f"{PREFIX}/s").status == 204
        refused = f"[-] {note} it cannot be connected to: Connection refused; purges that wait: 1"
        wait_until(lambda: refused in noted(gateway.admin_port))
        with cache("varnish", port, gateway.port):
            wait_until(lambda: f"[+] {note} ok" in noted(gateway.admin_port))
        assert metric(gateway.admin_port, "headgate_purges_waiting") == 0
        assert gateway.output().count("purge.failed") == 1
        assert gateway.output().count("purge.recovered") == 1
        create(gateway.port, "s")  # anew
        wait_until(lambda: refused in noted(gateway.admin_port))
        assert gateway.terminate() == 0
        assert gateway.output().count("purge.abandoned") == 1


def lifetimes(port: int, name: str) -> tuple[str | None, ...]:
    """For all caches, and for those that go by either field, of a read from the beginning."""
    got = ask(port, "GET", f"{PREFIX}/{name}?offset=-1")
    names = ("Cache-Control", "CDN-Cache-Control", "Surrogate-Control")
    return tuple(got.get(one) for one in names)


MINUTE = ("no-cache, s-maxage=60, stale-while-revalidate=0", "public, max-age=60")
RENEWED_S = 2.0  # a deleted stream that is created again, at a cache that is purged


def test_a_closed_stream_is_varnishs_for_a_day_until_it_is_deleted(tmp_path: Path) -> None:
    port = free_port()
    with (
        headgate(f"file:{tmp_path}", environment=purging("varnish", port)) as gateway,
        cache("varnish", port, gateway.port),
    ):
        create(port, "s")
        day = (*MINUTE, "public, max-age=86400")
        wait_until(lambda: lifetimes(gateway.port, "s") == day, within_s=SOON_S)
        for _ in range(2):
            assert lifetimes(port, "s") == (*MINUTE, None)
        beginning = f"{PREFIX}/s?offset=-1"
        assert is_hit(ask(port, "GET", beginning))
        assert ask(port, "DELETE", f"{PREFIX}/s").status == 204
        closed = {"Content_Type": "text/plain", "Stream_Closed": "true"}
        assert ask(port, "PUT", f"{PREFIX}/s", b"anew", **closed).status == 201
        created = time.monotonic()
        wait_until(lambda: ask(port, "GET", beginning).body == b"anew", within_s=SOON_S)
        assert time.monotonic() - created < RENEWED_S
        wait_until(lambda: metric(gateway.admin_port, "headgate_purges_waiting") == 0)


@pytest.mark.parametrize("kind", ["varnish", "nginx"])
def test_a_closed_stream_is_stored_for_a_minute_by_caches_whose_purges_fail(
    kind: str, tmp_path: Path
) -> None:
    port = free_port()  # where no Varnish is; the nginx of Debian answers 404
    with (
        headgate(f"file:{tmp_path}", environment=purging(kind, port)) as gateway,
        cache("nginx", port, gateway.port) if kind == "nginx" else nullcontext(),
    ):
        create(gateway.port, "s")
        assert lifetimes(gateway.port, "s") == (*MINUTE, "public, max-age=60")
        wait_until(lambda: "purges that wait: 1" in noted(gateway.admin_port), within_s=SOON_S)
        create(gateway.port, "other")
        assert lifetimes(gateway.port, "other") == (*MINUTE, "public, max-age=60")


def test_the_debian_nginx_purge_module_is_reported_as_too_old() -> None:
    """It looks for an answer whose URL has the very `*` that stands for all of a stream's."""
    port = free_port()
    with (
        headgate(environment=purging("nginx", port)) as gateway,
        cache("nginx", port, gateway.port),
    ):
        create(port, "s")
        assert ask(port, "DELETE", f"{PREFIX}/s").status == 204
        why = "it answers 404: it needs ngx_cache_purge 2.4 or newer; purges that wait: 1"
        wait_until(lambda: why in noted(gateway.admin_port))
