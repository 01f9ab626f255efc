"""Servers whose environment and settings name proxies: what goes through them, and what is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.access.forging import AUDIENCE, ED, ISSUER, jwks
from tests.proxies.serving import PREFIX, SERVICE, gateway_with_proxy
from tests.support.certificates import Authority
from tests.support.forward_proxy import ForwardProxy
from tests.support.given_settings import variables
from tests.support.http1 import Answer, ask
from tests.support.ports import free_port
from tests.support.processes import AT_ONCE, HEADGATE, Headgate, headgate, run
from tests.support.raw_origin import RawOrigin, answer, silence
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.raw_origin import Play

pytestmark = pytest.mark.usefixtures("processes")

PROVIDER, KEYS, HOOK = "provider.example", "issuer.example", "receiver.example"
USER, SECRET = "me:hush-hush", "hush-hush"
JSON = "Content-Type: application/json"
MODEL: dict[str, object] = {
    "prefix": "/openai",
    "upstream": f"https://{PROVIDER}",
    "dialect": "openai",
    "streams": "/v1/stream/answers",
}
ISSUER_TABLE: dict[str, object] = {
    "issuer": ISSUER,
    "audience": AUDIENCE,
    "jwks": f"https://{KEYS}/jwks?key=canary",
    "algorithms": ["EdDSA"],
    "grants": [{"streams": "/s/{sub}", "operations": ["read"]}],
}


class Trusted(NamedTuple):
    """The context of a server of all names here, and the file of the authority to trust it."""

    tls: ssl.SSLContext
    authority: str


@pytest.fixture
def trusted(tmp_path: Path) -> Trusted:
    authority = Authority("ours", tmp_path / "ours.pem")
    names = (PROVIDER, KEYS, HOOK, "localhost")
    files = authority.issue(hosts=names).write(tmp_path, "outside")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    return Trusted(context, str(authority.file))


def with_user(url: str) -> str:
    return url.replace("//", f"//{USER}@")


@contextlib.contextmanager
def gateway_by(environment: Mapping[str, str], **settings: object) -> Iterator[Headgate]:
    """A gateway whose environment and settings name a proxy; it never prints its password."""
    given = {**variables({"models": [MODEL], **settings}), **environment}
    with headgate("memory:", environment=given) as gateway:
        yield gateway
        metrics = ask(gateway.admin_port, "GET", "/metrics").body.decode()
        for place in ('connections{purpose="model"} 0.0', 'unsent_bytes{purpose="model"} 0.0'):
            assert f"headgate_outbound_{place}" in metrics
        page = ask(gateway.admin_port, "GET", "/configuration").body.decode()
        assert "outbound.proxy" in page
        for text in (gateway.output(), metrics, page):
            assert SECRET not in text


async def read(gateway: Headgate, target: str = "/openai/v1/models") -> Answer:
    return await asyncio.to_thread(ask, gateway.port, "GET", target)


def started(gateway: Headgate) -> dict[str, Any]:
    """Return the log line of the start."""
    (line,) = (line for line in gateway.output().splitlines() if '"server.started"' in line)
    found: dict[str, Any] = json.loads(line)
    return found


# ---------------------------------------------------------------- providers and issuers


@pytest.mark.smoke
@pytest.mark.parametrize("kind", ["http", "https"])
async def test_providers_and_issuers_are_reached_through_the_proxy_of_the_environment(
    kind: str, trusted: Trusted
) -> None:
    async with (
        RawOrigin(answer(b"{}", JSON), tls=trusted.tls) as provider,
        RawOrigin(answer(jwks([ED]), JSON), tls=trusted.tls) as issuer,
        ForwardProxy(
            {PROVIDER: provider.port, KEYS: issuer.port},
            tls=trusted.tls if kind == "https" else None,
        ) as proxy,
    ):
        environment = {
            "HTTPS_PROXY": with_user(proxy.url),
            "HEADGATE_OUTBOUND__PROXY": with_user("http://egress.example"),
            "SSL_CERT_FILE": trusted.authority,
        }
        served = gateway_by(
            environment,
            models=[{**MODEL, "auth": "none"}],
            credentials={"jwt_issuers": [ISSUER_TABLE]},
            auth=["jwt"],
        )
        gateway = await asyncio.to_thread(served.__enter__)
        try:
            told = await read(gateway)
            assert (told.status, told.body) == (200, b"{}")
            await until(lambda: "access.keys_fetched" in gateway.output())
            assert {*proxy.lines()} == {f"CONNECT {PROVIDER}:443", f"CONNECT {KEYS}:443"}
            assert started(gateway)["proxies"] == {
                f"{proxy.url} (HTTPS_PROXY)": [f"https://{PROVIDER}", f"https://{KEYS}"],
                "http://egress.example:80 (outbound.proxy)": ["webhooks"],
            }
        finally:
            await asyncio.to_thread(served.__exit__, None, None, None)


FAILING: dict[str, tuple[bytes | Play, int, str]] = {
    "it wants a password": (
        answer(b"", status="407 Authentication Required"),
        502,
        "does not take",
    ),
    "it cannot reach the provider": (
        answer(b"", status="502 Bad Gateway"),
        502,
        "answered 502 instead of connecting to it",
    ),
    "it hangs": (silence, 504, "made no connection within 0.5 s"),
}


@pytest.mark.parametrize("kind", FAILING)
async def test_a_client_reads_which_proxy_has_failed(kind: str) -> None:
    script, status, words = FAILING[kind]
    async with ForwardProxy({}, script) as proxy:
        environment = {"HTTPS_PROXY": with_user(proxy.url)}
        models = [{**MODEL, "read_timeout": 0.5}]
        served = gateway_by(environment, models=models)
        gateway = await asyncio.to_thread(served.__enter__)
        try:
            told = await read(gateway)
        finally:
            await asyncio.to_thread(served.__exit__, None, None, None)
        assert told.status == status
        text = told.body.decode()
        assert f"https://{PROVIDER} was not reached: the proxy {proxy.url} (HTTPS_PROXY)" in text
        assert words in text
        assert SECRET not in text


async def test_a_proxy_that_is_not_there_is_named_to_the_client() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with gateway_by({"HTTPS_PROXY": with_user(url)}) as gateway:
        told = ask(gateway.port, "GET", "/openai/v1/models")
    assert told.status == 502
    assert f"the proxy {url} (HTTPS_PROXY) cannot be connected to" in told.body.decode()


@pytest.mark.parametrize(
    ("scheme", "status"),
    [("https", 200), ("http", 502)],
    ids=["a tunnel is refused", "the request itself was sent"],
)
async def test_the_next_server_is_tried_only_if_nothing_was_sent(scheme: str, status: int) -> None:
    refusal = answer(b"", status="407 Authentication Required")
    async with RawOrigin(answer(b"{}", JSON)) as other, ForwardProxy({}, refusal) as proxy:
        upstream = [f"{scheme}://{PROVIDER}", f"http://127.0.0.1:{other.port}"]
        environment = {f"{scheme.upper()}_PROXY": proxy.url}
        served = gateway_by(environment, models=[{**MODEL, "upstream": upstream}])
        gateway = await asyncio.to_thread(served.__enter__)
        try:
            told = await asyncio.to_thread(
                ask, gateway.port, "POST", "/openai/v1/embeddings", b"{}"
            )
        finally:
            await asyncio.to_thread(served.__exit__, None, None, None)
        assert told.status == status
        assert len(other.heard) == (status == 200)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_malformed_variable_ends_a_start_that_needs_it(workers: int) -> None:
    storage = "memory:" if workers == 1 else f"redis://127.0.0.1:{free_port()}"
    words = [str(HEADGATE), "serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]
    environment = {
        **AT_ONCE,
        **variables({"storage": storage, "models": [MODEL], "workers": workers}),
        "HTTPS_PROXY": f"socks5://{USER}@proxy.example:1080",
    }
    done = run(words, environment=environment)
    assert done.returncode == 2
    told = done.stderr.decode()
    assert "HTTPS_PROXY begins with socks5://, but must be http(s)://" in told
    assert "unset it to use no proxy" in told
    assert SECRET not in told


@pytest.mark.parametrize(
    "given",
    [{"upstream": "http://127.0.0.1:9"}, {"upstream": "http://vllm:8000"}],
    ids=["loopback", "a name without a dot"],
)
def test_a_malformed_variable_that_nothing_needs_is_ignored(given: dict[str, str]) -> None:
    environment = {"HTTPS_PROXY": "socks5://a:1", "HTTP_PROXY": "socks5://a:1"}
    with gateway_by(environment, models=[{**MODEL, **given}]) as gateway:
        assert started(gateway)["proxies"] == {"directly": [given["upstream"], "webhooks"]}


def test_a_server_without_proxies_says_nothing_of_them() -> None:
    with gateway_by(dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), "")) as gateway:
        assert "proxies" not in started(gateway)


def test_an_entry_of_no_proxy_that_covers_nothing_is_warned_of_at_the_start() -> None:
    environment = {"HTTPS_PROXY": "http://a:1", "NO_PROXY": "http://x.example"}
    with gateway_by(environment) as gateway:
        assert (
            "NO_PROXY: entry 1 has no effect, as it is not a host, address or network"
            in gateway.output()
        )


# ---------------------------------------------------------------- hosts that clients name


async def test_a_proxied_host_is_called_through_the_proxy_of_the_setting_alone(
    trusted: Trusted, tmp_path: Path
) -> None:
    async with (
        RawOrigin(answer(b"hello"), tls=trusted.tls) as upstream,
        ForwardProxy({PROVIDER: upstream.port}) as proxy,
    ):
        by_environment = {"HTTPS_PROXY": with_user(proxy.url), "SSL_CERT_FILE": trusted.authority}
        by_setting = {**by_environment, "HEADGATE_OUTBOUND__PROXY": with_user(proxy.url)}

        def create(environment: Mapping[str, str]) -> Answer:
            with gateway_with_proxy(
                tmp_path, {"allow": [PROVIDER]}, environment=environment
            ) as gateway:
                fields = {"Upstream-URL": f"https://{PROVIDER}/", "Upstream-Method": "GET"}
                made = ask(gateway.port, "POST", PREFIX, b"", **SERVICE, **fields)
                assert SECRET not in gateway.output() + made.body.decode()
                way = started(gateway)["proxies"]
                assert [way for way, what in way.items() if PREFIX in what] == [
                    f"{proxy.url} (outbound.proxy)"
                    if "HEADGATE_OUTBOUND__PROXY" in environment
                    else "directly"
                ]
                return made

        assert (await asyncio.to_thread(create, by_environment)).status == 502
        assert not proxy.heard, "the proxy would look the name up again"
        assert (await asyncio.to_thread(create, by_setting)).status == 201
        assert proxy.lines() == [f"CONNECT {PROVIDER}:443"]


async def test_webhooks_go_through_the_proxy_of_the_setting_from_a_reload_on(
    trusted: Trusted, tmp_path: Path
) -> None:
    config = tmp_path / "headgate.toml"
    base = "http://127.0.0.1:4437"

    def write(proxy: str) -> None:
        config.write_text(f'[outbound]\nproxy = "{proxy}"\n[http]\npublic_url = "{base}"\n')

    async with (
        RawOrigin(answer(b"{}", JSON), tls=trusted.tls) as receiver,
        ForwardProxy({HOOK: receiver.port}) as proxy,
    ):
        write("")
        environment = {"HTTPS_PROXY": with_user(proxy.url), "SSL_CERT_FILE": trusted.authority}
        arguments = ("--config", str(config))
        with headgate("memory:", environment=environment, arguments=arguments) as gateway:
            streams = "/v1/stream"
            hook = {
                "type": "webhook",
                "pattern": "events/**",
                "webhook": {"url": f"https://{HOOK}/hook"},
            }

            async def put(path: str, document: object) -> None:
                made = await asyncio.to_thread(
                    ask,
                    gateway.port,
                    "PUT",
                    f"{streams}/{path}",
                    json.dumps(document).encode(),
                    Content_Type="application/json",
                )
                assert made.status in {200, 201}, made.body

            async def last_error() -> str:
                path = f"{streams}/__ds/subscriptions/hook"
                found = await asyncio.to_thread(ask, gateway.port, "GET", path)
                return json.dumps(found.json())

            await put("__ds/subscriptions/hook", hook)
            await put("events/one", {"n": 1})
            while "has a host name that cannot be resolved" not in (found := await last_error()):
                await asyncio.sleep(0.05)
            assert "proxy" not in found
            assert not proxy.heard
            write(with_user(proxy.url))
            os.kill(gateway.pid, signal.SIGHUP)
            await until(lambda: "server.reloaded" in gateway.output())
            await put("events/two", {"n": 1})
            await until(lambda: bool(receiver.heard))
            assert {*proxy.lines()} == {f"CONNECT {HOOK}:443"}
            assert SECRET not in gateway.output() + await last_error()


# ---------------------------------------------------------------- what never does


async def test_origins_and_caches_are_never_reached_through_a_proxy() -> None:
    async with ForwardProxy({"origin.example": free_port(), "cache.example": free_port()}) as proxy:
        urls = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "HEADGATE_OUTBOUND__PROXY"), proxy.url)
        purges = {"purges": [{"kind": "nginx", "url": "http://cache.example"}]}
        routes = [
            {"prefix": "/far", "origin": "http://origin.example"},
            {"prefix": "/own", "storage": "memory:"},
        ]
        server = Headgate(environment={**urls, **variables(purges)})
        server.serve_routes(*routes)
        try:
            gateway = await asyncio.to_thread(server.start)
            assert (await read(gateway, "/far/s?offset=-1")).status == 502
            for method in ("PUT", "DELETE"):
                await asyncio.to_thread(ask, gateway.port, method, "/own/s")

            def is_purge_failed() -> bool:
                metrics = ask(gateway.admin_port, "GET", "/metrics").body.decode()
                return 'outcome="name",purpose="purge"} 1.0' in metrics

            while not await asyncio.to_thread(is_purge_failed):
                await asyncio.sleep(0.05)
            assert not proxy.heard
        finally:
            server.close()


# ---------------------------------------------------------------- commands


def check(*arguments: str, **environment: str) -> tuple[int, str, str]:
    given = variables({"models": [MODEL], "storage": "memory:"})
    done = run(
        [str(HEADGATE), "config", "check", *arguments],
        environment={**AT_ONCE, **given, **environment},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_config_check_says_what_goes_through_which_proxy() -> None:
    urls = {
        "HTTPS_PROXY": f"http://{USER}@proxy.example:3128",
        "HEADGATE_OUTBOUND__PROXY": f"https://{USER}@egress.example",
    }
    status, output, errors = check(**urls)
    assert (status, errors) == (0, "")
    assert output.splitlines()[-1] == (
        f"Requests of its own: https://{PROVIDER} through http://proxy.example:3128 (HTTPS_PROXY); "
        "webhooks through https://egress.example:443 (outbound.proxy)."
    )
    assert SECRET not in output
    status, output, _ = check("--json", **urls)
    report = json.loads(output)
    assert report["proxies"] == {
        "http://proxy.example:3128 (HTTPS_PROXY)": [f"https://{PROVIDER}"],
        "https://egress.example:443 (outbound.proxy)": ["webhooks"],
    }
    shown = {it["key"]: it["value"] for it in report["settings"]}
    assert shown["outbound.proxy"] == "***"
    assert SECRET not in output


def test_config_check_warns_of_entries_that_cover_nothing() -> None:
    status, _, errors = check("--strict", HTTPS_PROXY="http://a:1", NO_PROXY="x.example,a/b")
    assert status == 1
    assert (
        "warning: NO_PROXY: entry 2 has no effect, as it is not a host, address or network"
        in errors
    )


@pytest.mark.parametrize(
    ("variable", "url", "words"),
    [
        ("HTTPS_PROXY", f"{USER}/x@proxy:1", "HTTPS_PROXY is not shown here, but must be http(s)"),
        (
            "HEADGATE_OUTBOUND__PROXY",
            f"socks5://{USER}@proxy:1",
            "HEADGATE_OUTBOUND__PROXY is not shown here, but must be http(s)://",
        ),
        ("HEADGATE_OUTBOUND__PROXY", "proxy:3128", "percent-encode all but letters"),
    ],
    ids=["a variable", "the setting", "the setting without a scheme"],
)
def test_config_check_refuses_a_malformed_proxy(variable: str, url: str, words: str) -> None:
    status, output, errors = check(**{variable: url})
    assert (status, output) == (2, "")
    assert words in errors
    assert SECRET not in errors


def test_the_variable_all_proxy_is_not_read() -> None:
    status, output, _ = check(ALL_PROXY="http://proxy.example:3128")
    assert status == 0
    assert "proxy.example" not in output
