"""`headgate serve --front`: TLS and HTTP/2 by a Caddy that lives as long as the server."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.front.fronted import HERE, Fronted, fronted
from tests.support.processes import HEADGATE, run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronted]:
    arguments = ["--log-level", "debug"]
    with fronted(tmp_path_factory.mktemp("front"), arguments=arguments) as one:
        yield one


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


@pytest.mark.usefixtures("processes")
def test_a_stream_is_written_and_read_by_http_2_and_http_1(server: Fronted) -> None:
    assert server.put("both", "hello")[:2] == ("2", 201)
    assert server.ask("/v1/stream/both?offset=-1") == ("2", 200, "hello")
    one = server.ask("/v1/stream/both?offset=-1", version="--http1.1")
    assert one == ("1.1", 200, "hello")


@pytest.mark.usefixtures("processes")
def test_a_request_by_the_front_is_logged_with_the_address_of_its_client(server: Fronted) -> None:
    """A stranger's X-Forwarded-For and Forwarded count for nothing."""
    made_up = ("-H", "X-Forwarded-For: 192.0.2.1", "-H", "Forwarded: for=192.0.2.2")
    server.ask("/v1/stream/logged?offset=-1", *made_up)

    def lines() -> list[str]:
        return [one for one in server.output().splitlines() if "/v1/stream/logged" in one]

    wait_until(lambda: bool(lines()), "it is logged")
    assert '"client": "127.0.0.' in lines()[0]


def test_only_the_user_of_the_server_may_enter_the_folder_of_the_front(server: Fronted) -> None:
    assert server.data.stat().st_mode & 0o777 == 0o700
    environment = Path(f"/proc/{server.caddy}/environ").read_bytes().split(b"\0")
    assert [line for line in environment if line.startswith(b"HEADGATE_")] == []


@pytest.mark.usefixtures("processes")
def test_a_killed_caddy_is_back_with_its_certificate(server: Fronted) -> None:
    server.put("killed", "hello")
    before = server.caddy
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not is_running(before), "it is dead")
    assert server.ask("/v1/stream/killed?offset=-1") == ("2", 200, "hello")
    assert server.caddy != before
    assert server.metrics()["headgate_front_restarts_total"] == 1


@pytest.mark.usefixtures("processes")
def test_caddy_ends_with_a_server_that_is_stopped(tmp_path: Path) -> None:
    with fronted(tmp_path) as server:
        caddy = server.caddy
        server.put("polled", "hello")
        polled: list[tuple[str, int, str]] = []
        path = "/v1/stream/polled?offset=now&live=long-poll"
        reader = threading.Thread(target=lambda: polled.append(server.ask(path)))
        reader.start()
        polls = 'headgate_live_readers{mode="long_poll",route="/v1/stream"}'
        wait_until(lambda: server.metrics().get(polls) == 1, "it is waiting")
        assert server.terminate() == 0
        reader.join()
        assert not is_running(caddy)
        assert polled == [("2", 204, "")]


@pytest.mark.usefixtures("processes")
def test_caddy_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    with fronted(tmp_path) as server:
        caddy = server.caddy
        server.kill()
        wait_until(lambda: not is_running(caddy), "Caddy has ended")


@pytest.mark.usefixtures("processes")
def test_a_front_on_a_port_that_is_taken_is_refused_with_a_way_out(
    server: Fronted, tmp_path: Path
) -> None:
    other = Fronted(tmp_path, front_port=server.front_port)
    refused = run(other.arguments, environment=other.environment)
    assert refused.returncode == 2
    assert refused.stderr.decode() == (
        f"headgate: cannot listen on {HERE}:{server.front_port} (front.listen): Address already in "
        "use; end what listens there, or choose another address, with front.listen or "
        "HEADGATE_FRONT__LISTEN.\n"
    )


@pytest.mark.usefixtures("processes")
def test_a_front_that_others_reach_is_refused_without_an_auth() -> None:
    refused = run([HEADGATE, "serve", "--front", "streams.example.com"])
    assert refused.returncode == 2
    assert b"must say who may use /v1/stream, since others than this machine" in refused.stderr
