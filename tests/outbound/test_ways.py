"""Requests through a real proxy, and what a proxy does that fails, hangs or is not there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from headgate_gateway.open_files import OPEN_FILES
from headgate_gateway.outbound import connections, failures
from headgate_gateway.outbound.client import OutboundClient, OutboundRequest, usual_connector
from headgate_gateway.outbound.failures import NoResponse
from headgate_gateway.protocol.http.destinations import AllowedHosts, allowed_host
from headgate_gateway.protocol.http.outgoing_proxies import (
    SETTING,
    proxies_by_environment,
    proxies_by_setting,
)
from tests.outbound.test_unread_bodies import LONG, PURPOSE, answers_unread, held
from tests.support.certificates import Authority
from tests.support.forward_proxy import ForwardProxy
from tests.support.outbound import OutboundRequests, trusting
from tests.support.ports import free_port
from tests.support.raw_origin import RawOrigin, Steps, answer, close, reset, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from headgate_gateway.protocol.http.outgoing_proxies import OutgoingProxies
    from tests.support.raw_origin import Play

NAME = "provider.example"  # which resolves nowhere but at the proxy
SECURE, PLAIN = f"https://{NAME}/v1", f"http://{NAME}/v1"
USER = "me:p%40ss%3Aw%C3%B6rd"
BASIC = "Basic bWU6cEBzczp3w7ZyZA=="  # me:p@ss:wörd
CALL_S = 5.0


@pytest.fixture
def trusted(tmp_path: Path) -> Iterator[ssl.SSLContext]:
    """The context of a server of `NAME` and localhost that clients trust."""
    authority = Authority("ours", tmp_path / "ours.pem")
    files = authority.issue(hosts=(NAME, "localhost")).write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    with trusting(authority.file):
        yield context


def by_variables(url: str, no_proxy: str = "") -> OutgoingProxies:
    return proxies_by_environment({"HTTPS_PROXY": url, "HTTP_PROXY": url, "NO_PROXY": no_proxy})


@contextlib.asynccontextmanager
async def client_by(
    proxies: OutgoingProxies | None, hosts: AllowedHosts | None = None
) -> AsyncIterator[OutboundClient]:
    client = OutboundClient(PURPOSE, lambda: usual_connector(hosts), proxies=proxies)
    try:
        yield client
    finally:
        await client.close()


async def called(client: OutboundClient, url: str, timeout_s: float = CALL_S) -> str:
    """Return what a call comes to: its body, or the kind of its failure with the words."""
    request = OutboundRequest("POST", URL(url), {"X-Own": "1"}, b"{}")
    try:
        return (await client.call(request, timeout_s)).body.decode()
    except NoResponse as failure:
        return f"{failure.kind}: {failure.why}"


def with_user(url: str, user: str = USER) -> str:
    return url.replace("//", f"//{user}@")


# ---------------------------------------------------------------- through it


async def test_a_request_by_https_goes_through_a_tunnel_that_has_the_password(
    trusted: ssl.SSLContext,
) -> None:
    async with (
        RawOrigin(answer(b"safe"), tls=trusted) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_variables(with_user(proxy.url))) as client,
    ):
        files = OPEN_FILES.servers
        for _ in range(2):
            assert await called(client, SECURE) == "safe"
            assert held() == (0, 0)
            assert OPEN_FILES.servers == files + 1, "a tunnel is one connection"
        assert proxy.lines() == [f"CONNECT {NAME}:443"], "the connection is used again"
        named = proxy.heard[0].named
        assert (named["proxy-authorization"], named["user-agent"]) == (BASIC, "Headgate")
        assert [set(it.named) & {"proxy-authorization", "host"} for it in server.heard] == [
            {"host"}
        ] * 2
        assert server.heard[0].named["host"] == NAME
        await client.close()
        await until(lambda: files == OPEN_FILES.servers)


async def test_a_plain_request_is_sent_to_the_proxy_with_the_whole_url() -> None:
    async with (
        RawOrigin(answer(b"here")) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_variables(with_user(proxy.url))) as client,
    ):
        assert await called(client, f"{PLAIN}?a=b") == "here"
        assert proxy.lines() == [f"POST {PLAIN}?a=b"]
        assert proxy.heard[0].named["proxy-authorization"] == BASIC
        assert server.lines() == ["POST /v1?a=b"]
        assert server.heard[0].named["host"] == NAME


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_proxy_may_be_spoken_to_by_tls(scheme: str, trusted: ssl.SSLContext) -> None:
    tls = trusted if scheme == "https" else None
    async with (
        RawOrigin(answer(b"safe"), tls=tls) as server,
        ForwardProxy({NAME: server.port}, tls=trusted) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        assert await called(client, f"{scheme}://{NAME}/v1") == "safe"
        assert held() == (0, 0)
        assert len(proxy.heard) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_request_for_this_machine_goes_there_directly(host: str) -> None:
    async with (
        RawOrigin(answer(b"here")) as server,
        ForwardProxy({}) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        assert await called(client, f"http://{host}:{server.port}/") == "here"
        assert not proxy.heard


async def test_a_host_of_no_proxy_is_looked_up_and_connected_to_here() -> None:
    async with (
        ForwardProxy({}) as proxy,
        client_by(by_variables(proxy.url, "provider.example")) as client,
    ):
        assert (await called(client, SECURE)).startswith("name: has a host name that cannot be")
        assert not proxy.heard


async def test_a_client_without_proxies_goes_through_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Purges and all that has no proxies of its own."""
    (tmp_path / ".netrc").write_text("machine localhost login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with RawOrigin(answer(b"here")) as server, client_by(None) as client:
        assert await called(client, server.url) == "here"
        assert "authorization" not in server.heard[0].named


async def test_a_file_of_passwords_is_not_read_for_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    async with (
        RawOrigin(answer(b"here")) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        assert await called(client, PLAIN) == "here"
        named = proxy.heard[0].named
        assert {"authorization", "proxy-authorization"}.isdisjoint(named)


# ---------------------------------------------------------------- it fails

NEEDED = answer(b"", "Proxy-Authenticate: Basic", status="407 Authentication Required")
AT = "was not reached: the proxy {} (HTTPS_PROXY)"
FAILING: dict[str, tuple[bytes | Play, str]] = {
    "it wants a password": (
        NEEDED,
        f"proxy: {AT} wants a user and a password, as USER:PASSWORD@ before the host in HTTPS_PROXY"
        " (status 407)",
    ),
    "it cannot reach the server": (
        answer(b"<html>", status="502 Bad Gateway"),
        f"proxy: {AT} answered 502 instead of connecting to it",
    ),
    "it forbids the server": (
        answer(b"", status="403 Forbidden"),
        f"proxy: {AT} answered 403 instead of connecting to it",
    ),
    "it answers what nothing means": (
        answer(b"", status="999 Oh"),
        f"proxy: {AT} answered 999 instead of connecting to it",
    ),
    "it is silent": (silence, f"timeout: {AT} made no connection within 0.5 s"),
    "it closes the connection": (
        close,
        f"proxy: {AT} closed the connection without a response",
    ),
    "it resets the connection": (
        reset,
        f"proxy: {AT} closed the connection without a response",
    ),
    "it speaks another protocol": (
        b"SSH-2.0-OpenSSH_9.7\r\n",
        f"proxy: {AT} sent no valid response of HTTP/1.1",
    ),
}


@pytest.mark.parametrize("kind", FAILING)
async def test_a_failure_of_a_proxy_names_it_without_its_password_and_holds_nothing(
    kind: str,
) -> None:
    script, outcome = FAILING[kind]
    wait_s = 0.5 if outcome.startswith("timeout") else CALL_S
    requests, files = OutboundRequests(PURPOSE), OPEN_FILES.servers
    async with (
        ForwardProxy({}, script) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        assert await called(client, SECURE, wait_s) == outcome.format(proxy.url)
        await until(lambda: held() == (0, 0))
        await until(lambda: proxy.open == 0)
        assert files == OPEN_FILES.servers
    assert requests.by_outcome() == {outcome.partition(":")[0]: 1}


@pytest.mark.parametrize("url", [SECURE, PLAIN])
async def test_a_proxy_that_does_not_take_its_password_is_told_so(url: str) -> None:
    async with (
        ForwardProxy({}, NEEDED) as proxy,
        client_by(by_variables(with_user(proxy.url))) as client,
    ):
        source = "HTTPS_PROXY" if url is SECURE else "HTTP_PROXY"
        assert await called(client, url) == (
            f"proxy: was not reached: the proxy {proxy.url} ({source}) does not take the user and "
            f"the password in {source} (status 407)"
        )


async def test_a_proxy_that_is_not_there_is_named() -> None:
    url = f"http://localhost:{free_port()}"
    async with client_by(by_variables(with_user(url))) as client:
        outcome = await called(client, SECURE)
    assert outcome == f"proxy: {AT.format(url)} cannot be connected to: Connection refused"


async def test_a_proxy_whose_name_does_not_resolve_is_named() -> None:
    async with client_by(by_variables("http://proxy.invalid:3128")) as client:
        outcome = await called(client, SECURE)
    at = AT.format("http://proxy.invalid:3128")
    assert outcome.startswith(f"proxy: {at} has a host name that cannot be resolved: ")


async def test_a_proxy_that_hangs_has_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_S", 0.3)
    async with (
        ForwardProxy({}, silence) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        begun = asyncio.get_running_loop().time()
        assert (await called(client, SECURE, 60.0)).startswith("timeout: was not reached")
        assert asyncio.get_running_loop().time() - begun < CALL_S


async def test_a_server_that_speaks_no_tls_in_a_tunnel_has_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (connections, failures):
        monkeypatch.setattr(module, "CONNECT_S", 0.3)
    async with (
        RawOrigin(silence) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        through = f"(through the proxy {proxy.url} (HTTPS_PROXY))"
        outcome = f"unreachable: took no connection within 0.3 s {through}"
        assert await called(client, SECURE) == outcome
        await until(lambda: held() == (0, 0))


async def test_an_open_tunnel_has_as_long_as_the_request(
    monkeypatch: pytest.MonkeyPatch, trusted: ssl.SSLContext
) -> None:
    monkeypatch.setattr(connections, "CONNECT_S", 0.3)
    steps = Steps(b"", answer(b"late"))
    async with (
        RawOrigin(steps, tls=trusted) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        task = asyncio.create_task(called(client, SECURE))
        await until(lambda: bool(server.heard))
        await asyncio.sleep(0.5)  # the time that is tested
        steps.go()
        assert await task == "late"


BEHIND: dict[str, tuple[Play, str]] = {
    "is silent": (silence, "timeout: did not answer within 0.5 s"),
    "closes the connection": (close, "broken: closed the connection without a response"),
}


@pytest.mark.parametrize(("play", "outcome"), BEHIND.values(), ids=BEHIND)
async def test_a_failure_of_a_server_says_through_which_proxy(
    play: Play, outcome: str, trusted: ssl.SSLContext
) -> None:
    wait_s = 0.5 if outcome.startswith("timeout") else CALL_S
    async with (
        RawOrigin(play, tls=trusted) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        through = f"(through the proxy {proxy.url} (HTTPS_PROXY))"
        assert await called(client, SECURE, wait_s) == f"{outcome} {through}"
        await until(lambda: held() == (0, 0))


async def test_a_certificate_that_a_proxy_makes_up_is_not_trusted(tmp_path: Path) -> None:
    files = Authority("proxy", tmp_path / "proxy.pem").issue(hosts=(NAME,)).write(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with (
        RawOrigin(answer(b"forged"), tls=context) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        outcome = await called(client, SECURE)
        assert outcome.startswith("certificate: has a certificate that is not trusted")
        assert outcome.endswith(f"(through the proxy {proxy.url} (HTTPS_PROXY))")
        await until(lambda: held() == (0, 0))


async def test_nothing_is_kept_of_a_body_that_a_server_behind_a_proxy_does_not_read(
    trusted: ssl.SSLContext,
) -> None:
    async with (
        RawOrigin(answers_unread(), tls=trusted) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_variables(proxy.url)) as client,
    ):
        with pytest.raises(NoResponse, match="did not answer within"):
            await client.call(OutboundRequest("POST", URL(SECURE), {}, LONG), 0.5)
        await until(lambda: held() == (0, 0))


# ---------------------------------------------------------------- hosts that clients name


def by_setting(url: str, hosts: AllowedHosts, no_proxy: str = "") -> OutgoingProxies | None:
    environment: Mapping[str, str] = {"NO_PROXY": no_proxy, "HTTPS_PROXY": "http://127.0.0.1:1"}
    return proxies_by_setting(url, environment, hosts)


async def test_the_proxy_of_the_setting_looks_names_up_and_may_itself_be_inside(
    trusted: ssl.SSLContext,
) -> None:
    hosts = AllowedHosts([allowed_host(NAME)])
    async with (
        RawOrigin(answer(b"safe"), tls=trusted) as server,
        ForwardProxy({NAME: server.port}) as proxy,
        client_by(by_setting(proxy.url, hosts), hosts) as client,
    ):
        assert await called(client, SECURE) == "safe"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]"])
async def test_an_address_that_a_url_names_is_judged_with_a_proxy_as_without(address: str) -> None:
    hosts = AllowedHosts([allowed_host(address)])
    async with (
        ForwardProxy({}) as proxy,
        client_by(by_setting(proxy.url, hosts), hosts) as client,
    ):
        assert (await called(client, f"https://{address}/")).startswith("refused: ")
        assert not proxy.heard


async def test_a_name_that_no_proxy_is_for_is_judged_by_its_addresses() -> None:
    hosts = AllowedHosts([allowed_host("http://localhost:*")])
    async with (
        ForwardProxy({}) as proxy,
        client_by(by_setting(proxy.url, hosts, "localhost"), hosts) as client,
    ):
        outcome = await called(client, f"http://localhost:{proxy.port}/")
        assert outcome == "refused: localhost has an address that is not public: loopback"


async def test_a_host_that_may_be_inside_is_connected_to_directly() -> None:
    hosts = AllowedHosts([], [allowed_host(f"http://{NAME}:*")])
    async with (
        ForwardProxy({}) as proxy,
        client_by(by_setting(proxy.url, hosts), hosts) as client,
    ):
        assert (await called(client, PLAIN)).startswith("name: has a host name that cannot be")
        assert not proxy.heard


async def test_clients_read_of_the_setting_and_not_the_address_of_its_proxy() -> None:
    hosts = AllowedHosts([allowed_host(NAME)])
    async with (
        ForwardProxy({}, answer(b"", status="403 No")) as proxy,
        client_by(by_setting(with_user(proxy.url), hosts), hosts) as client,
    ):
        assert await called(client, SECURE) == (
            f"proxy: was not reached: the proxy of {SETTING} answered 403 instead of connecting to "
            "it"
        )
