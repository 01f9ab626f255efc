"""Reloads that change the files of TLS: the path of a certificate, and what is refused."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from tests.reloading.reloadable import STREAMS, reloadable
from tests.reloading.test_reload_of_workers import Configured
from tests.support.certificates import HERE, Authority
from tests.support.waiting import wait_until
from tests.tls.served import ask_on

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from tests.support.certificates import TlsPaths

LISTENERS = {"streams": "", "console": "admin_"}
TRIES = 12  # handshakes: both of two workers get some


def tls(prefix: str, paths: TlsPaths) -> dict[str, object]:
    """The settings of a listener with these files."""
    return {
        f"{prefix}tls_certificate": str(paths.certificate),
        f"{prefix}tls_key": str(paths.key),
    }


def connect(authority: Authority, port: int) -> ssl.SSLSocket:
    """Connect to a listener by TLS."""
    plain = socket.create_connection((HERE, port), 20)
    return authority.client().wrap_socket(plain, server_hostname=HERE)


def serial(authority: Authority, port: int) -> int:
    """Return the serial number of the certificate of a new connection."""
    with connect(authority, port) as secured:
        return ask_on(secured, "GET", "/").serial


@pytest.mark.parametrize("prefix", LISTENERS.values(), ids=LISTENERS)
async def test_another_path_is_served_to_new_connections_and_open_ones_stay(
    tmp_path: Path, prefix: str
) -> None:
    authority = Authority.of(tmp_path)
    old, new = authority.issue(), authority.issue()
    before, after = old.write(tmp_path, "old"), new.write(tmp_path, "new")
    async with reloadable(tmp_path, **tls(prefix, before)) as at:
        port = at.admin_port if prefix else at.port
        with await asyncio.to_thread(connect, authority, port) as opened:
            assert await at.reload(STREAMS, **tls(prefix, after)) == ()
            assert await asyncio.to_thread(serial, authority, port) == new.serial
            assert (await asyncio.to_thread(ask_on, opened, "GET", "/")).serial == old.serial


@pytest.mark.parametrize("prefix", LISTENERS.values(), ids=LISTENERS)
@pytest.mark.parametrize("is_mixed", [True, False], ids=["a mixed pair", "another setting"])
async def test_a_reload_that_is_refused_leaves_the_certificate_and_all_else(
    tmp_path: Path, is_mixed: bool, prefix: str
) -> None:
    authority = Authority.of(tmp_path)
    old, new = authority.issue(), authority.issue()
    before, after = old.write(tmp_path, "old"), new.write(tmp_path, "new")
    reason = "log.format cannot be changed by a reload"
    more: dict[str, object] = {"log_format": "json"}
    if is_mixed:
        after, more = after._replace(key=before.key), {"max_live_readers": 1}
        reason = f"{before.key} is not the key of the certificate in {after.certificate}"
    async with reloadable(tmp_path, **tls(prefix, before)) as at:
        in_force = at.gateway._configuration
        (problem,) = await at.reload(STREAMS, **more, **tls(prefix, after))
        assert reason in problem
        assert at.gateway._configuration is in_force
        port = at.admin_port if prefix else at.port
        assert await asyncio.to_thread(serial, authority, port) == old.serial


@pytest.mark.parametrize("prefix", LISTENERS.values(), ids=LISTENERS)
async def test_tls_begins_and_ends_by_a_restart_alone(tmp_path: Path, prefix: str) -> None:
    paths = Authority.of(tmp_path).issue().write(tmp_path)
    async with reloadable(tmp_path) as at:
        (problem,) = await at.reload(STREAMS, **tls(prefix, paths))
        assert f"{prefix.replace('_', '.')}tls.certificate cannot be changed by a reload" in problem
        assert await at.reload(STREAMS) == ()


@pytest.mark.usefixtures("processes")
def test_all_workers_serve_the_certificate_at_another_path(tmp_path: Path) -> None:
    authority = Authority.of(tmp_path)
    pairs = [authority.issue() for _ in range(2)]
    paths = [pair.write(tmp_path, f"{number}") for number, pair in enumerate(pairs)]
    at = Configured(tmp_path, 2)
    at.write("/a", **tls("", paths[0]))
    try:
        at.server.start()
        wait_until(at.server.is_ready, "all workers serve")
        at.write("/a", **tls("", paths[1]))
        assert at.reload().returncode == 0
        assert {serial(authority, at.server.port) for _ in range(TRIES)} == {pairs[1].serial}
    finally:
        at.server.close()
