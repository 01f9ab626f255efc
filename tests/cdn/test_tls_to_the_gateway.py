"""Each engine speaks HTTPS to a gateway with a certificate, and to no other server."""

from __future__ import annotations

import contextlib
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_gateway.settings import load
from tests.support.certificates import Authority
from tests.support.http1 import ConnectionEnded, ask
from tests.support.ports import free_port
from tests.support.processes import ROOT, Headgate
from tests.support.proxy_engines import ENGINES, run_here, started
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate_gateway.settings import Settings

NAME = "gateway.example"
STREAM = "/v1/stream/a"
TEXT = "text/plain"
ENGINES_WITH_TLS = [name for name in ENGINES if not run_here(name).no_https]
IMPOSTORS = ("another name", "another authority")


class Gateways(NamedTuple):
    """Three gateways with a certificate each, of which only the first is to be trusted."""

    authority: Path
    settings: Settings
    ports: dict[str, int]


@pytest.fixture(scope="module")
def gateways(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    folder = tmp_path_factory.mktemp("tls")
    ours, others = Authority.of(folder, "ours"), Authority.of(folder, "others")
    hosts = (NAME, "localhost")
    files = {
        "right": ours.issue(hosts=hosts).write(folder, "right"),
        "another name": ours.issue(hosts=("other.example",)).write(folder, "name"),
        "another authority": others.issue(hosts=hosts).write(folder, "authority"),
    }
    with ExitStack() as end:
        newest = {"HEADGATE_TLS__MINIMUM_VERSION": "1.3"}
        servers = {
            name: Headgate(environment={**newest, **paths.settings()})
            for name, paths in files.items()
        }
        for server in servers.values():
            end.callback(server.close)
            server.start()
        # With streams in a Redis, a file may lead to several gateways.
        of_many = {"HEADGATE_STORAGE": "redis://127.0.0.1:1", **files["right"].settings()}
        settings = load(None, of_many, {})
        yield Gateways(ours.file, settings, {name: one.port for name, one in servers.items()})


def files_for(name: str, gateways: Gateways, which: str, port: int) -> dict[str, str]:
    """Render a target that listens on `port` in front of the gateways that `which` names."""
    whole = run_here(name)
    at = ",".join(f"127.0.0.1:{gateways.ports[one]}" for one in which.split(", "))
    if whole.no_upstream_ca:  # it verifies the host of its upstream by the public authorities
        how = {"upstream": f"localhost:{gateways.ports[which]}"}
    else:
        how = {"upstream": at, "upstream_name": NAME, "upstream_ca": str(gateways.authority)}
    alone = whole.can_stand_alone
    options = from_settings(gateways.settings, listen=port, standalone=alone, **how)
    return {one.file_name: render(one, options) for one in (whole, *map(run_here, whole.beside))}


@pytest.fixture(autouse=True)
def public_authority(gateways: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Node.js and workerd take the authority for a public one."""
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(gateways.authority))


@pytest.mark.parametrize("name", ENGINES_WITH_TLS)
def test_each_engine_speaks_https_to_a_gateway_whose_certificate_it_verifies(
    name: str, gateways: Gateways
) -> None:
    port = free_port()
    with started(ENGINES[name], files_for(name, gateways, "right", port), port):
        path = f"{STREAM}-{name}"
        assert ask(port, "PUT", path, Content_Type=TEXT).status == 201
        assert ask(port, "POST", path, b"news", Content_Type=TEXT).status == 204
        assert ask(port, "GET", f"{path}?offset=-1").body == b"news"
        assert ask(port, "GET", f"{path}?offset=-1&live=long-poll").body == b"news"
        assert ask(port, "HEAD", path).status == 200


@pytest.mark.parametrize("which", IMPOSTORS)
@pytest.mark.parametrize("name", ENGINES_WITH_TLS)
def test_each_engine_refuses_a_gateway_with_another_name_or_authority(
    name: str, which: str, gateways: Gateways
) -> None:
    port = free_port()
    with started(ENGINES[name], files_for(name, gateways, which, port), port):
        for method, target in (("PUT", STREAM), ("GET", f"{STREAM}?offset=-1")):
            answer = ask(port, method, target, Content_Type=TEXT)
            # Traefik has no other status for it.
            assert answer.status in ({500} if name == "traefik" else {502, 503}), answer


BALANCING = [one for one in ENGINES_WITH_TLS if run_here(one).balances]


@pytest.mark.parametrize("name", [one for one in BALANCING if not run_here(one).no_upstream_ca])
def test_a_balancer_leaves_out_a_gateway_whose_certificate_it_refuses(
    name: str, gateways: Gateways
) -> None:
    port = free_port()
    files = files_for(name, gateways, "another name, right", port)
    with started(ENGINES[name], files, port):

        def serves() -> bool:
            with contextlib.suppress(ConnectionEnded):  # while it finds that one is down
                answers = [ask(port, "GET", f"{STREAM}-none?offset=-1") for _ in range(6)]
                return {answer.status for answer in answers} == {404}
            return False

        wait_until(serves, "all requests reach the right gateway")


def test_the_documented_haproxy_gives_varnish_tls_to_the_gateway(gateways: Gateways) -> None:
    page = (ROOT / "cdn_configs" / "headgate_cdn" / "varnish" / "README.md").read_text()
    found = re.search(r"```haproxy\n(.*?)```", page, re.DOTALL)
    assert found is not None
    between, port = free_port(), free_port()
    lines = found[1].replace("127.0.0.1:4438", f"127.0.0.1:{between}")
    lines = lines.replace("gateway.example.com", NAME)
    lines = lines.replace("/etc/ssl/company.pem", str(gateways.authority))
    upstream = f"http://127.0.0.1:{between}"
    options = from_settings(gateways.settings, listen=port, standalone=True, upstream=upstream)
    vcl = {"headgate.vcl": render(run_here("varnish"), options)}
    for which in gateways.ports:
        tunnel = lines.replace(f"{NAME}:4437", f"127.0.0.1:{gateways.ports[which]}")
        with (
            started(ENGINES["haproxy"], {"haproxy.cfg": tunnel}, between),
            started(ENGINES["varnish"], vcl, port),
        ):
            status = ask(port, "PUT", f"{STREAM}-varnish", Content_Type=TEXT).status
            assert status == (201 if which == "right" else 503), which
