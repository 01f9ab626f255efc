"""What is rendered, and what is refused because no right file can be made."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import product
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headgate_cdn.errors import Refused, UnknownTarget
from headgate_cdn.options import MIB, Options
from headgate_cdn.render import MARK, check_fit, mark, render
from headgate_cdn.target import Target
from headgate_cdn.targets import ON_A_PAGE, TARGETS, target
from tests.test_architecture import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_cdn.options import CredentialMode

HOST = "streams.example.com"
# A target with every limit that one can have.
NARROW = Target(
    name="narrow",
    title="a target",
    folder="narrow",
    template="",
    file_name="narrow.conf",
    comment="#",
    does=(),
    does_not=(),
    why_not={
        "per-credential": "its keys have no headers",
        "reader-key": "it looks the other way",
    },
    keeps_readers_apart=False,
    keeps_sites_apart=False,
    longest_poll_s=20,
    longest_poll_reason="it ends what takes longer",
    longest_heartbeat_s=30,
    longest_heartbeat_reason="it ends what is silent",
    no_purge="it has no way in",
    abilities=frozenset({"collapses"}),
)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(), "narrow needs the host name that readers use: give --host"),
        (
            Options(host=HOST, standalone=True),
            "narrow has no standalone file: it runs at its vendor only",
        ),
        (
            Options(host=HOST, credentials="per-credential"),
            "narrow cannot keep a cache for each reader: its keys have no headers",
        ),
        (
            Options(host=HOST, credentials="reader-key"),
            "narrow cannot keep copies by reader key: it looks the other way",
        ),
        (
            Options(host=HOST, credentials="asked"),
            "narrow cannot ask the gateway who may read: it cannot ask the gateway before it "
            "looks for a copy",
        ),
        (
            Options(host=HOST, poll_s=21),
            "narrow cannot hold long-polls of 21 s: it ends what takes longer; "
            "set live.long_poll_timeout to at most 20",
        ),
        (
            Options(host=HOST, heartbeat_s=31),
            "narrow cannot pass on SSE with heartbeats every 31 s: it ends what is silent; set "
            "live.sse_heartbeat to at most 30",
        ),
        (
            Options(host=HOST, shield="eu-central-1"),
            "narrow has no shield: --shield is for a vendor that has one place ask for all others",
        ),
        (
            Options(host=HOST, compress_private=True),
            "narrow compresses nothing by this file: leave out --compress-private",
        ),
        (Options(host=HOST, purge=True), "narrow takes no purges: it has no way in"),
        (
            Options(host=HOST, stale_if_error_s=30),
            "narrow serves no stale copies for --stale-if-error: no rules for that were made and "
            "tried",
        ),
        (
            Options(host=HOST, told_apart=True),
            "narrow may give a reader with credentials the copy of an anonymous reader's answer, "
            "and an HTTP origin tells these apart: take another target for its routes, or name all "
            "that it knows readers by in drop_headers",
        ),
        (
            Options(host=HOST, sites=True),
            "narrow cannot keep the answers for one web site apart from those for another: set "
            "http.cors_origins to *",
        ),
        (
            Options(host=HOST, tail_s=0),
            "narrow lets equal readers wait for one answer, and where it may not keep that, for "
            "each other: set tail_max_age to at least 1",
        ),
    ],
    ids=[
        "host",
        "standalone",
        "credentials",
        "reader-key",
        "asked",
        "poll",
        "heartbeat",
        "shield",
        "compression",
        "purge",
        "stale-if-error",
        "readers",
        "sites",
        "tail",
    ],
)
def test_options_that_a_target_does_not_support_are_refused_in_one_sentence(
    options: Options, sentence: str
) -> None:
    with pytest.raises(Refused) as refusal:
        render(NARROW, options)
    assert refusal.value.detail == sentence


SECURE = Options(host=HOST, upstream="gateway.example.com:4437", tls=True)


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("varnish", {}, "cannot speak HTTPS to the gateway and verify it: open-source Varnish"),
        ("gateway-api", {}, "cannot speak HTTPS to the gateway and verify it: its authorities"),
        (
            "nginx",
            {"upstream": "10.0.0.5:4437"},
            "verifies the name in the gateway's certificate, and 10.0.0.5 is an address: give "
            "--upstream-name",
        ),
        (
            "vercel",
            {"upstream": "[2001:db8::1]:4437"},
            "verifies the name in the gateway's certificate, and 2001:db8::1 is an address: name "
            "the gateway in --upstream",
        ),
        (
            "haproxy",
            {"upstream": "a.example:4437,b.example:4437"},
            "verifies one name in the certificates of all gateways: give it as --upstream-name",
        ),
        ("fastly", {"upstream_ca": "/a.pem"}, "has no --upstream-ca: the file trusts the public"),
        ("vercel", {"upstream_name": "a.b"}, "has no --upstream-name: it trusts the public"),
        (
            "haproxy",
            {"client_certificates": True},
            "has no certificate of its own, which tls",
        ),
        (
            "caddy",
            {"tls": False, "upstream_ca": "/a.pem"},
            "speaks plain HTTP to this gateway, where --upstream-ca has no meaning: set "
            "tls.certificate, or give --upstream https://HOST:PORT",
        ),
    ],
    ids=[
        "varnish",
        "gateway-api",
        "an-address",
        "an-address-at-a-vendor",
        "several-names",
        "authorities-at-a-vendor",
        "name-at-a-vendor",
        "client-certificates",
        "plain-http",
    ],
)
def test_what_a_target_cannot_verify_of_a_gateway_with_tls_is_refused(
    name: str, values: dict[str, Any], sentence: str
) -> None:
    options = msgspec.structs.replace(SECURE, **values)
    with pytest.raises(Refused) as refusal:
        render(TARGETS[name], options)
    assert refusal.value.detail.startswith(f"{name} {sentence}")


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    ("values", "is_https"),
    [
        ({}, True),
        ({"scheme": "http"}, False),
        ({"tls": False}, False),
        ({"tls": False, "scheme": "https"}, True),
        ({"tls": False, "upstream": "gateway.example.com:443"}, True),
        ({"scheme": "http", "upstream": "gateway.example.com:443"}, False),
    ],
    ids=str,
)
def test_the_settings_the_port_and_the_scheme_decide_whether_a_file_speaks_https(
    name: str, values: dict[str, Any], is_https: bool
) -> None:
    options = msgspec.structs.replace(SECURE, **values)
    if is_https and TARGETS[name].no_https:
        with pytest.raises(Refused, match="cannot speak HTTPS"):
            render(TARGETS[name], options)
    elif name in SPEAKING_HTTPS:
        assert (SPEAKING_HTTPS[name] in render(TARGETS[name], options)) is is_https


SPEAKING_HTTPS = {
    **dict.fromkeys(("nginx", "nginx-njs"), "proxy_pass https://headgate;"),
    "haproxy": "ssl verify required ca-file @system-ca sni str(gateway.example.com)",
    "caddy": "reverse_proxy https://gateway.example.com:",
    "envoy": "sni: gateway.example.com",
    "traefik": "- url: https://gateway.example.com:",
    **dict.fromkeys(("cloudflare-worker", "cloudflare-durable"), '"https://gateway.example.com'),
    "cloudflare-rules": '"ssl": "strict"',
    "cloudfront": '"OriginProtocolPolicy": "https-only"',
    "fastly": '.ssl_cert_hostname = "gateway.example.com"',
    "bunny": '"VerifyOriginSSL": true',
    "vercel": '"https://gateway.example.com',
}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("nginx", ["proxy_read_timeout 362s;"]),
        ("haproxy", ["timeout client 360s", "timeout server 360s"]),
        ("varnish", [".between_bytes_timeout = 360s;"]),
        ("envoy", ["stream_idle_timeout: 360s"]),
    ],
)
def test_proxy_timeouts_exceed_a_heartbeat_longer_than_the_long_poll(
    name: str, lines: list[str]
) -> None:
    text = render(TARGETS[name], Options(host=HOST, heartbeat_s=120))
    assert [line for line in lines if line not in text] == []


@pytest.mark.parametrize(
    "here", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "0.0.0.0", "[::]"]
)
def test_a_loopback_upstream_is_refused_for_targets_at_a_vendor(here: str) -> None:
    far = msgspec.structs.replace(NARROW, is_elsewhere=True)
    with pytest.raises(Refused) as refusal:
        check_fit(far, Options(host=HOST, upstream=f"{here}:4437"))
    told = f"narrow cannot reach {here}:4437 from its vendor's machines: give --upstream"
    assert refusal.value.detail == told
    for there in ("192.0.2.1", "[2001:db8::1]", "localhost.example.com"):
        check_fit(far, Options(host=HOST, upstream=f"{there}:4437"))


def test_each_target_is_at_a_vendor_or_can_make_a_standalone_file() -> None:
    for one in TARGETS.values():
        assert one.is_elsewhere or one.can_stand_alone, one.name
        if one.is_elsewhere:
            where = "another machine" if one.in_cluster else "its vendor's machines"
            with pytest.raises(Refused, match=f"from {where}: give --upstream$"):
                render(one, Options(host=HOST))


@pytest.mark.parametrize("name", ["cloudflare-worker", "cloudflare-durable"])
def test_a_standalone_worker_uses_a_gateway_of_this_machine(name: str) -> None:
    tried = Options(upstream="127.0.0.1:4437", host="127.0.0.1", listen=8787, standalone=True)
    assert '"origin": "http://127.0.0.1:4437"' in render(TARGETS[name], tried)
    for host, ip in (("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("", "127.0.0.1")):
        options = msgspec.structs.replace(tried, host=host)
        told = commented(render(TARGETS[f"{name}-wrangler"], options))
        assert told["dev"] == {"ip": ip, "port": 8787}
        assert "routes" not in told


@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddy", "varnish"])
def test_a_standalone_file_accepts_127_0_0_1_but_no_ipv6_host(name: str) -> None:
    assert "127.0.0.1" in render(TARGETS[name], Options(host="127.0.0.1", standalone=True))
    with pytest.raises(Refused, match=r"no address of IPv6: give --host 127\.0\.0\.1$"):
        render(TARGETS[name], Options(host="[::1]", standalone=True))


def test_the_wrangler_file_declares_host_name_cache_and_durable_objects() -> None:
    options = Options(host=HOST, upstream="gateway.example.com:443")
    worker, durable = (
        commented(render(TARGETS[f"cloudflare-{kind}-wrangler"], options))
        for kind in ("worker", "durable")
    )
    objects = {key: durable.pop(key) for key in ("durable_objects", "migrations")}
    assert durable == worker
    assert worker["routes"] == [{"pattern": HOST, "custom_domain": True}]
    assert (worker["name"], worker["main"]) == ("headgate", "worker.js")
    assert worker["main"] == TARGETS["cloudflare-worker"].file_name
    caches = {name: one["cache"]["enabled"] for name, one in worker["exports"].items()}
    assert caches == {"default": False, "CachedReads": True}
    code = render(TARGETS["cloudflare-durable"], options)
    assert "export class CachedReads extends" in code
    (binding,) = objects["durable_objects"]["bindings"]
    assert f"export class {binding['class_name']} extends DurableObject" in code
    assert f"env.{binding['name']}." in code
    assert objects["migrations"][0]["new_sqlite_classes"] == [binding["class_name"]]
    engine = (ROOT / "tests" / "node" / "worker_engine.mjs").read_text()
    assert f'compatibilityDate: "{worker["compatibility_date"]}"' in engine


def commented(text: str) -> Any:
    """A JSON value of a file with comments."""
    lines = [re.sub(r"(^|[\s,])// .*$", "", line) for line in text.splitlines()]
    return json.loads("\n".join(lines))


@pytest.mark.parametrize("upstream", ["192.0.2.1:4437", "[2001:db8::1]:4437", "8gateways:4437"])
def test_in_cluster_targets_refuse_an_upstream_that_is_no_service_name(upstream: str) -> None:
    for one in (each for each in TARGETS.values() if each.in_cluster):
        with pytest.raises(Refused) as refusal:
            render(one, Options(host=HOST, upstream=upstream))
        assert refusal.value.detail == (
            f"{one.name} leads to a Service of its cluster, by the first label of --upstream, and "
            f"{upstream} names none: give --upstream SERVICE:PORT"
        )
        assert "name: gateway\n" in render(one, Options(host=HOST, upstream="Gateway.prod.svc:80"))


def test_targets_with_shared_cache_lookup_refuse_per_reader_http_origins() -> None:
    options = Options(host=HOST, upstream="gateway.example.com:443", told_apart=True)
    early = [one for one in TARGETS.values() if not one.keeps_readers_apart]
    assert [one.name for one in early] == ["bunny", "vercel"]
    for one in early:
        with pytest.raises(Refused, match="the copy of an anonymous reader's answer"):
            check_fit(one, options)


def test_an_unknown_target_is_refused_with_the_list_of_targets() -> None:
    with pytest.raises(UnknownTarget) as refusal:
        target("apache\n")
    assert refusal.value.detail == rf"there is no target 'apache\n': {', '.join(TARGETS)}"


@pytest.mark.parametrize("name", ON_A_PAGE)
def test_a_load_balancer_that_needs_no_file_is_refused_with_the_page_of_its_commands(
    name: str,
) -> None:
    with pytest.raises(UnknownTarget) as refusal:
        target(name)
    assert refusal.value.detail == (
        f"{name} needs no file: docs/cdn/cloud-load-balancers.md has the commands to copy"
    )
    assert f"take for {Options().silence_s} s the larger of" in (ROOT / ON_A_PAGE[name]).read_text()


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("cloudflare-worker", ['"origin": "https://gateway.example.com{colon}"']),
        ("cloudflare-rules", [f'http.host eq \\"{HOST}\\"']),
        ("fastly", ['.host = "gateway.example.com";', '.port = "{port}";']),
        ("cloudfront", ['"DomainName": "gateway.example.com"', '"HTTPSPort": {port}']),
    ],
    ids=["worker", "rules", "fastly", "cloudfront"],
)
@pytest.mark.parametrize("port", [443, 8443])
def test_a_file_for_each_large_cdn_names_the_gateway_or_its_host(
    name: str, places: list[str], port: int
) -> None:
    options = Options(host=HOST, upstream=f"gateway.example.com:{port}", scheme="https")
    text = render(TARGETS[name], options)
    colon = "" if port == 443 else f":{port}"
    for place in places:
        assert place.replace("{port}", str(port)).replace("{colon}", colon) in text


def test_target_names_match_the_table_and_their_templates_exist() -> None:
    assert [name for name, one in TARGETS.items() if name != one.name] == []
    assert [one.name for one in TARGETS.values() if not _template(one).is_file()] == []
    for one in TARGETS.values():
        assert [TARGETS[name].folder for name in one.beside] == [one.folder] * len(one.beside)


def _template(one: Target) -> Path:
    return ROOT / "cdn_configs" / "headgate_cdn" / one.folder / one.template


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        pytest.param({"own_logs": ()}, "shares the streams of own logs only", id="no-own-log"),
        pytest.param(
            {}, "has nothing to verify read tokens by: set credentials.keys_file", id="no-keys"
        ),
    ],
)
def test_credentials_verified_without_keys_or_own_logs_is_refused(
    values: dict[str, tuple[str, ...]], sentence: str
) -> None:
    upstream = "gateway.example.com:443"
    options = Options(upstream=upstream, credentials="verified", **values)  # type: ignore[arg-type]
    with pytest.raises(Refused, match=sentence):
        render(TARGETS["cloudflare-worker"], options)


def test_the_mark_of_a_file_is_one_line_and_omits_default_options() -> None:
    options = Options(host=HOST, poll_s=30)
    said = mark(TARGETS["nginx"], options)
    assert said == f'{MARK}nginx {{"host":"{HOST}","poll_s":30}}'
    assert msgspec.json.decode(said.partition("{")[1] + said.partition("{")[2], type=Options) == (
        options
    )


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ["nginx", "nginx-njs"])
def test_nginx_accepts_its_file_with_each_mode_of_credentials_and_purge(
    name: str, tmp_path: Path
) -> None:
    one = TARGETS[name]
    variants = product(one.credentials, (False, True))
    for number, (credentials, purge) in enumerate(variants):
        folder = tmp_path / str(number)
        options = Options(
            standalone=True,
            credentials=credentials,
            purge=purge,
            sites=purge,
            host=HOST if purge else "",
            upstream="[::1]:4437" if purge else "127.0.0.1:4437",
            identity_headers=("Authorization", "X-Api-Key"),
        )
        run = _nginx(one, options, folder)
        assert run.returncode == 0, run.stderr
        assert "[emerg]" not in run.stderr


def _nginx(one: Target, options: Options, folder: Path) -> subprocess.CompletedProcess[str]:
    """`nginx -t` of a file in its folder, where all must be that it writes."""
    folder.mkdir()
    for beside in (one, *map(target, one.beside)):
        (folder / beside.file_name).write_text(render(beside, options))
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None
    command = [program, "-t", "-p", str(folder), "-c", str(folder / one.file_name)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("credentials", TARGETS["nginx-njs"].credentials)
def test_nginx_cache_keys_contain_credentials_only_hashed(credentials: CredentialMode) -> None:
    text = render(
        TARGETS["nginx-njs"],
        Options(host=HOST, credentials=credentials, identity_headers=("Authorization", "X-Shop")),
    )
    keys = {line.strip() for line in text.splitlines() if "proxy_cache_key" in line}
    assert [key for key in keys if "$http_authorization" in key or "$http_x_shop" in key] == []
    assert [key for key in keys if "token" in key or "$args" in key] == []
    hashed = [key for key in keys if "$headgate_reader" in key]
    assert len(hashed) == (credentials in {"per-credential", "asked"})
    assert ("js_set $headgate_reader headgate.reader;" in text) is bool(hashed)


def test_varnish_takes_the_cache_size_for_copies_and_as_much_again_for_short_lived_ones() -> None:
    head = render(TARGETS["varnish"], Options(cache_size=64 * MIB, standalone=True))
    head = head.partition("\nvcl ")[0]
    assert re.findall(r"-s ((?:Transient=)?malloc,[0-9]+m)", head) == [
        "malloc,64m",
        "Transient=malloc,64m",
    ]
    assert "128 MiB in all" in head
