"""Certificates that are replaced while the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import ask
from tests.support.waiting import wait_until
from tests.tls.served import STREAM, TEXT, SecureHeadgate, ask_on, secure_headgate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Pair

pytestmark = pytest.mark.usefixtures("processes")

OK = 'headgate_tls_files_ok{setting="tls.certificate"}'


def served_serial(server: SecureHeadgate) -> int:
    return server.ask("GET", "/").serial


def serves(server: SecureHeadgate, pair: Pair) -> bool:
    return served_serial(server) == pair.serial


def test_a_new_certificate_is_served_and_open_connections_stay(tmp_path: Path) -> None:
    with secure_headgate(tmp_path) as server, server.connect() as before:
        first = ask_on(before, "PUT", STREAM, b"one", TEXT)
        new = server.authority.issue()
        new.replace(server.paths)
        wait_until(lambda: served_serial(server) == new.serial, "the new certificate is served")
        again = ask_on(before, "GET", f"{STREAM}?offset=-1")
        assert (again.body, again.serial) == (b"one", first.serial)


def test_a_certificate_without_its_key_leaves_the_former_pair_in_use(tmp_path: Path) -> None:
    with secure_headgate(tmp_path) as server:
        first, new = served_serial(server), server.authority.issue()
        server.paths.certificate.write_bytes(new.certificate)
        wait_until(lambda: server.metrics()[OK] == 0, "the mistake is seen")
        assert served_serial(server) == first
        assert "is not the key of the certificate in" in server.server.output()
        server.paths.key.write_bytes(new.key)
        wait_until(lambda: served_serial(server) == new.serial, "both are served")
        assert server.metrics()[OK] == 1


def test_half_a_certificate_leaves_the_former_pair_in_use(tmp_path: Path) -> None:
    with secure_headgate(tmp_path) as server:
        first, new = served_serial(server), server.authority.issue()
        server.paths.certificate.write_bytes(new.certificate[: len(new.certificate) // 2])
        wait_until(lambda: server.metrics()[OK] == 0, "the mistake is seen")
        assert served_serial(server) == first


@pytest.mark.parametrize("workers", [1, 2])
def test_refused_files_need_attention_until_they_are_corrected(
    tmp_path: Path, workers: int
) -> None:
    origin = f"file:{tmp_path / 'data'}" if workers == 1 else "http://127.0.0.1:9"
    settings = {"HEADGATE_WORKERS": str(workers)}
    with secure_headgate(tmp_path, settings, origin) as server:
        new, name = server.authority.issue(), str(server.paths.certificate)

        def noted() -> str:
            answer = ask(server.server.admin_port, "GET", "/readyz?verbose")
            lines = answer.body.decode().splitlines()
            return "".join(line for line in lines if name in line)

        server.paths.certificate.write_bytes(new.certificate)
        wait_until(lambda: "is not the key of the certificate" in noted(), "it is noted", noted)
        server.paths.key.write_bytes(new.key)
        wait_until(lambda: "is not the key" not in noted(), "it is well again", noted)
