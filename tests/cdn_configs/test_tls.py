"""The lines for TLS on the pages of the proxies speak HTTP/2, as a client chooses it by ALPN."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS
from tests.cdn_configs.nginx_before import READ, Said
from tests.support.ports import HOST, free_port
from tests.support.proxy_engines import ENGINES, release, started
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cdn_configs.nginx_before import Origin

CERTIFICATE = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=a"
KEY, CHAIN, BOTH = "tls.key", "tls.crt", "tls.pem"
HTTP2_ON = (1, 25, 1)  # the first nginx that knows the directive


@pytest.fixture(scope="module")
def folder(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a certificate lies, its key, and both in one file."""
    made = tmp_path_factory.mktemp("tls")
    files = ["-keyout", KEY, "-out", CHAIN]
    command = ["openssl", *CERTIFICATE.split(), *files]
    subprocess.run(command, cwd=made, capture_output=True, check=True)
    (made / BOTH).write_text((made / CHAIN).read_text() + (made / KEY).read_text())
    return made


def recipe(target: str, language: str) -> str:
    """The lines for TLS on the page of a target."""
    page = (ROOT / "cdn_configs" / "headgate_cdn" / target / "README.md").read_text()
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def of_nginx(text: str, port: int, folder: Path) -> str:
    lines = re.sub(r"(listen (?:\[::\]:)?)443", rf"\g<1>{port}", recipe("nginx", "nginx"))
    number = re.search(r"\d+\.\d+\.\d+", release(ENGINES["nginx"]))
    assert number is not None
    if tuple(map(int, number[0].split("."))) < HTTP2_ON:  # as the page says
        lines = re.sub(r"http2 on; .*", "", lines).replace(" ssl;", " ssl http2;")
    lines = lines.replace("/etc/nginx/streams.key", f"{folder}/{KEY}")
    lines = lines.replace("/etc/nginx/streams.pem", f"{folder}/{CHAIN}")
    assert " http2" in lines
    former = rf"listen {port};\n    listen \[::\]:{port}; .*"
    return re.sub(former, lines, text, count=1)


def of_haproxy(text: str, port: int, folder: Path) -> str:
    lines = recipe("haproxy", "haproxy").strip().replace(":443", f":{port}")
    lines = lines.replace("/etc/haproxy/streams.pem", f"{folder}/{BOTH}")
    assert "alpn h2,http/1.1" in lines
    return re.sub(rf"bind :{port}\n    bind :::{port} v6only .*", lines, text)


def of_caddy(text: str, port: int, folder: Path) -> str:
    """Make of it what it is with the certificate that Caddy would have got by itself."""
    tls = f"https://:{port} {{\n\ttls {folder}/{CHAIN} {folder}/{KEY}"
    # Without HTTP/3, whose UDP port of this number is the claim of the tests to it.
    first = "{\n\tservers {\n\t\tprotocols h1 h2\n\t}\n"
    return text.replace(f"http://:{port} {{", tls).replace("{\n", first, 1)


def chosen(port: int, *offered: str) -> str | None:
    """The protocol that a server takes of those that a client offers in its handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(offered)
    with (
        socket.create_connection((HOST, port), 10) as plain,
        context.wrap_socket(plain, server_hostname="a") as tls,
    ):
        return tls.selected_alpn_protocol()


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("name", "spoken"), [("nginx", of_nginx), ("haproxy", of_haproxy), ("caddy", of_caddy)]
)
def test_the_documented_tls_lines_make_each_proxy_speak_http2(
    origin: Origin, folder: Path, name: str, spoken: Callable[[str, int, Path], str]
) -> None:
    port = free_port()
    options = Options(upstream=f"{HOST}:{origin.server_port}", listen=port, standalone=True)
    text = spoken(render(TARGETS[name], options), port, folder)
    with started(ENGINES[name], {TARGETS[name].file_name: text}, port):
        assert chosen(port, "h2", "http/1.1") == "h2"
        assert chosen(port, "http/1.1") == "http/1.1"
        url = f"https://{HOST}:{port}{origin.will_say(Said(READ, 200))}"
        command = ["curl", "-sk", "-o", "-", "-w", " %{http_version} %{http_code}", url]
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        assert said.stdout == "anybody 2 200"
