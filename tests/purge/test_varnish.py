"""A real Varnish in front: what it kept of a stream is gone when the stream is."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import ask
from tests.support.ports import accepts, free_port
from tests.support.processes import headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.http1 import Answer

VCL = Path(__file__).with_name("ban.vcl")
VARNISHD = "/usr/sbin/varnishd"
PREFIX = "/v1/stream"
# A closed stream's data at an offset of its own may be kept for a minute.
FROM_THE_FIRST = "?offset=0000000000000000_0000000000000000"
SOON_S = 20.0


@contextmanager
def varnish(folder: Path, port: int, backend: int) -> Iterator[None]:
    """Varnish at a port in front of another one."""
    vcl = folder / "ban.vcl"
    vcl.write_text(VCL.read_text().replace("BACKEND", str(backend)))
    command = [VARNISHD, "-F", "-n", str(folder / "run"), "-T", "none", "-j", "none"]
    command += ["-a", f"127.0.0.1:{port}", "-f", str(vcl), "-s", "malloc,16m"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: accepts(port), "Varnish listens")
            yield
        finally:
            process.terminate()


def purging(port: int) -> dict[str, str]:
    """The environment of a gateway behind a Varnish there."""
    caches = [{"kind": "varnish", "url": f"http://127.0.0.1:{port}"}]
    return {"HEADGATE_PURGES": json.dumps(caches)}


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


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_varnish_kept_of_a_stream_is_gone_when_it_is_deleted(
    tmp_path: Path, workers: str
) -> None:
    """The streams are another server's, so that several workers may serve them."""
    port = free_port()
    before = ["--workers", workers]
    with (
        headgate() as origin,
        headgate(origin.url, arguments=before, environment=purging(port)) as gateway,
        varnish(tmp_path, port, gateway.port),
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


def test_a_purge_that_failed_is_shown_until_varnish_is_back(tmp_path: Path) -> None:
    port = free_port()
    note = f"purge varnish 127.0.0.1:{port}"
    with headgate(environment=purging(port)) as gateway:

        def told() -> str:
            answer = ask(gateway.admin_port, "GET", "/readyz?verbose")
            assert answer.status == 200, "readers and writers are served all the same"
            return answer.body.decode()

        create(gateway.port, "s")
        assert ask(gateway.port, "DELETE", f"{PREFIX}/s").status == 204
        wait_until(lambda: f"[-] {note} it cannot be connected to" in told(), told=told)
        with varnish(tmp_path, port, gateway.port):
            wait_until(lambda: f"[+] {note} ok" in told(), told=told)
        assert metric(gateway.admin_port, "headgate_purges_waiting") == 0
        assert gateway.output().count("purge.failed") == 1
        assert gateway.output().count("purge.recovered") == 1
        create(gateway.port, "s")  # anew
        wait_until(lambda: "cannot be connected to" in told(), told=told)
        assert gateway.terminate() == 0
        assert gateway.output().count("purge.abandoned") == 1
