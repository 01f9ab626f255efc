from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import OriginUnreachable, StartError
from tests.origin.opening import ask, opened
from tests.support.http1 import Answer
from tests.support.http1 import ask as ask_on_a_socket
from tests.support.listener import Listener
from tests.support.processes import ANEW, headgate
from tests.support.raw_origin import RawOrigin, answer
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    # The server's side of TLS, with a certificate for a host name.
    Server = Callable[[str], ssl.SSLContext]

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


def openssl(folder: Path, *arguments: str) -> None:
    run = subprocess.run(
        ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def authority(processes: None, folder: Path) -> str:
    """The certificate of an authority of our own, as the path of a PEM file."""
    use = ("-addext", "keyUsage=critical,keyCertSign")
    files = ("-keyout", "ca.key", "-out", "ca.pem")
    openssl(folder, "req", "-x509", *KEY, *use, "-subj", "/CN=Ours", *files)
    return str(folder / "ca.pem")


@pytest.fixture(scope="module")
def server_tls(folder: Path, authority: str) -> Server:
    def made(host: str) -> ssl.SSLContext:
        key, request, certificate = (f"{host}.{kind}" for kind in ("key", "csr", "pem"))
        names = ("-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}")
        signed = (
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-copy_extensions",
            "copy",
        )
        openssl(folder, "req", *KEY, *names, "-keyout", key, "-out", request)
        files = ("-in", request, "-out", certificate)
        openssl(folder, "x509", "-req", *signed, "-copy_extensions", "copy", *files)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / certificate, folder / key)
        return context

    return made


@pytest.mark.usefixtures("processes")
async def test_a_server_with_a_trusted_certificate_is_used(
    server_tls: Server, authority: str
) -> None:
    tls = server_tls("localhost")
    async with RawOrigin(answer(b"safe"), tls=tls) as server:
        async with opened(server, tls_ca=authority) as origin:
            assert await ask(origin) == (200, b"safe")
            assert await ask(origin, "POST", body=b"x") == (200, b"safe")
        assert [heard.connection for heard in server.heard] == [1, 1]
        assert server.heard[0].fields == [f"Host: localhost:{server.port}"]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("host", "is_trusted", "why"),
    [
        ("localhost", False, "that is not trusted: unable to get local issuer certificate"),
        ("other.example", True, "for another host name"),
    ],
)
async def test_an_origin_with_a_certificate_that_does_not_prove_it_is_sent_nothing(
    server_tls: Server, authority: str, host: str, is_trusted: bool, why: str
) -> None:
    trusted = {"tls_ca": authority} if is_trusted else {}
    async with RawOrigin(answer(), tls=server_tls(host)) as server:
        async with opened(server, **trusted) as origin:
            with pytest.raises(OriginUnreachable, match=f"^the origin has a certificate {why}$"):
                await ask(origin, "POST", body=b"x")
            assert next(iter(origin.servers)).up is False
        assert server.heard == []


async def test_a_server_that_speaks_no_tls_is_reported() -> None:
    async def answer_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status="400 Bad Request"))

    server = Listener(answer_at_once)
    async with server, opened(f"https://localhost:{server.port}") as origin:
        with pytest.raises(OriginUnreachable, match="the origin does not speak TLS as we do: "):
            await ask(origin)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_connection_check_verifies_the_certificate(
    server_tls: Server, authority: str, is_trusted: bool
) -> None:
    trusted = {"tls_ca": authority} if is_trusted else {}
    server = RawOrigin(answer(), tls=server_tls("localhost"))
    async with server, opened(server, **trusted) as origin:
        why = await origin.pool.why_unreachable(origin.servers.preferred)
        assert (why is None) == is_trusted, why
        assert why is None or why.startswith("has a certificate that is not trusted: ")


@pytest.mark.usefixtures("processes")
async def test_a_recovered_server_behind_tls_is_used_again(
    server_tls: Server, authority: str
) -> None:
    tls = server_tls("localhost")
    async with RawOrigin(answer(), tls=tls) as server:
        port = server.port
    async with opened(f"https://localhost:{port}", tls_ca=authority) as origin:
        with pytest.raises(OriginUnreachable):
            await ask(origin)
        async with RawOrigin(answer(b"back"), port=port, tls=tls):
            await until(lambda: origin.servers.why_unhealthy() is None)
            assert await ask(origin) == (200, b"back")


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (None, "No such file or directory"),
        ("", "no certificate in it"),
        ("x", "no certificate in it"),
    ],
)
async def test_a_tls_ca_file_without_a_certificate_ends_the_start_with_its_reason(
    written: str | None, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if written is not None:
        file.write_text(written)
    with pytest.raises(StartError, match=rf"^cannot use {file} \(tls_ca\): {why}$"):
        async with opened("https://localhost", tls_ca=str(file)):
            pass


@pytest.mark.usefixtures("processes")
async def test_a_server_started_with_ssl_cert_file_trusts_its_authorities(
    server_tls: Server, authority: str
) -> None:
    def read(origin: str) -> Answer:
        environment = {"SSL_CERT_FILE": authority}
        with headgate(origin, environment=environment, preface=ANEW) as gateway:
            return ask_on_a_socket(gateway.port, "GET", "/v1/stream/chat?offset=-1")

    async with RawOrigin(answer(b"safe"), tls=server_tls("localhost")) as server:
        told = await asyncio.to_thread(read, f"https://localhost:{server.port}")
    assert (told.status, told.body) == (200, b"safe")


@pytest.mark.usefixtures("processes")
def test_aiohttp_loads_no_authorities_and_the_environment_stays_unchanged(authority: str) -> None:
    program = (
        "import os; from headgate_gateway import trust\n"
        "with trust.without_authorities(): import aiohttp.connector\n"
        "names = ('SSL_CERT_FILE', 'SSL_CERT_DIR'); print(*map(os.environ.get, names));"
        "contexts = aiohttp.connector._SSL_CONTEXT_VERIFIED, trust.context();"
        "print(*(it.cert_store_stats()['x509_ca'] for it in contexts))"
    )
    environment = {**os.environ, "SSL_CERT_FILE": authority}
    environment.pop("SSL_CERT_DIR", None)
    told = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert told == f"{authority} None\n0 1\n"
