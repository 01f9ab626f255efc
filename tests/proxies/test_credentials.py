"""Tokens and signed URLs: what each permits, and that none of them is shown anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.proxies.guard import UrlSignatures
from tests.proxies.serving import (
    PREFIX,
    READER,
    SECRET,
    SERVICE,
    STREAMS,
    TOKEN,
    create,
    created,
    gateway_with_proxy,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientSession

    from tests.proxies.upstream import Upstream
    from tests.support.processes import Headgate

OTHER = f"{PREFIX}/00000000-0000-4000-8000-000000000000"


def signed(path: str, *, secret: str = SECRET, now: float = 4e9) -> str:
    """Return a path as it is signed in a year when the tests do not run any more, or at `now`."""
    return UrlSignatures(secret, 60, lambda: now).signed(path)


# Each takes the path of a stream, and its signed URL's path and query.
FORGED = {
    "another secret": lambda path, _: signed(path, secret="t" * 48),
    "another stream": lambda path, _: signed(OTHER).replace(OTHER, path),
    "another time": lambda _, url: url.replace("expires=", "expires=9"),
    "a changed character": lambda _, url: url[:-2] + ("AA" if not url.endswith("AA") else "BB"),
    "a cut signature": lambda _, url: url[:-1],
    "no text": lambda path, _: f"{path}?expires=9999999999&signature=%FF%00",
    "a time that is no number": lambda path, _: f"{path}?expires=never&signature=abc",
    "a time twice": lambda _, url: f"{url}&expires=9999999999",
    "a signature twice": lambda _, url: f"{url}&signature=abc",
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_a_forged_signature_neither_reads_nor_aborts(
    http: ClientSession, upstream: Upstream, gateway: Headgate, forge: object
) -> None:
    assert callable(forge)
    url = (await created(http, gateway, upstream)).removeprefix(gateway.url)
    forged = gateway.url + forge(url.partition("?")[0], url)
    for method, target in (("GET", forged), ("PATCH", f"{forged}&action=abort")):
        assert await refusal(http, method, target) == (401, "SIGNATURE_INVALID")
    async with http.get(gateway.url + url) as answer:
        assert answer.status == 200


async def refusal(http: ClientSession, method: str, url: str, **headers: str) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    async with http.request(method, url, headers=headers) as answer:
        return answer.status, (await answer.json())["error"]["code"]


@pytest.mark.usefixtures("processes")
async def test_an_expired_signature_neither_reads_nor_aborts(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    url = (await created(http, gateway, upstream)).removeprefix(gateway.url)
    expired = gateway.url + signed(url.partition("?")[0], now=1e9)
    for method, target in (("GET", expired), ("PATCH", f"{expired}&action=abort")):
        assert await refusal(http, method, target) == (401, "SIGNATURE_EXPIRED")


def test_a_signature_permits_until_its_second_has_come() -> None:
    now = [1000.0]
    signatures = UrlSignatures(SECRET, 60, lambda: now[0])
    path, _, query = signatures.signed(OTHER).partition("?")
    assert signatures.until(path, query, 1059.9) == 1060.0
    with pytest.raises(Exception, match="expired"):
        signatures.until(path, query, 1060.0)


@pytest.mark.usefixtures("processes")
async def test_a_live_read_ends_when_its_signature_expires(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.hold()
    with gateway_with_proxy(tmp_path, {"ttl": 2}) as gateway:
        url = await created(http, gateway, upstream)
        async with http.get(f"{url}&live=sse&offset=-1") as answer:
            assert answer.status == 200
            await answer.read()  # which would last as long as the upstream's response
        assert await refusal(http, "GET", url) == (401, "SIGNATURE_EXPIRED")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_a_signed_url_permits_no_other_action(
    http: ClientSession, upstream: Upstream, gateway: Headgate, method: str
) -> None:
    url = await created(http, gateway, upstream)
    assert await refusal(http, method, url) == (401, "MISSING_SECRET")
    async with http.head(url) as answer:
        assert answer.status == 401
    async with http.get(url) as answer:
        assert answer.status == 200


NO_TOKENS = {
    "no token": ({}, "", (401, "MISSING_SECRET")),
    "a wrong token": ({"Authorization": "Bearer wrong"}, "", (401, "INVALID_SECRET")),
    "a wrong token in the query": ({}, "?secret=wrong", (401, "INVALID_SECRET")),
    "a reader's token": ({"Authorization": f"Bearer {READER}"}, "", (403, "FORBIDDEN")),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("headers", "query", "expected"), NO_TOKENS.values(), ids=NO_TOKENS)
async def test_a_stream_is_created_and_deleted_with_a_token_that_permits_it_alone(
    http: ClientSession,
    upstream: Upstream,
    gateway: Headgate,
    headers: dict[str, str],
    query: str,
    expected: tuple[int, str],
) -> None:
    for method, path in (("POST", PREFIX), ("DELETE", OTHER)):
        url = f"{gateway.url}{path}{query}"
        fields = {"Upstream-URL": upstream.url, "Upstream-Method": "GET", **headers}
        assert await refusal(http, method, url, **fields) == expected
    assert not upstream.requests


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("token", [TOKEN, READER], ids=["the service", "a reader"])
async def test_a_token_reads_and_describes_every_stream_and_aborts_none(
    http: ClientSession, upstream: Upstream, gateway: Headgate, token: str
) -> None:
    url = (await created(http, gateway, upstream)).partition("?")[0]
    fields = {"Authorization": f"Bearer {token}"}
    for method in ("GET", "HEAD"):
        async with http.request(method, url, headers=fields) as answer:
            assert answer.status == 200
    found = await refusal(http, "PATCH", f"{url}?action=abort", **fields)
    assert found == (401, "MISSING_SIGNATURE")


@pytest.mark.usefixtures("processes")
async def test_the_token_in_the_query_is_as_good_as_in_authorization(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    fields = {"Upstream-URL": upstream.url, "Upstream-Method": "GET"}
    query = f"?secret={TOKEN}"
    async with http.post(f"{gateway.url}{PREFIX}{query}", headers=fields) as answer:
        assert answer.status == 201
        url = answer.headers["Location"].partition("?")[0]
    for method, status in (("GET", 200), ("HEAD", 200), ("DELETE", 204)):
        async with http.request(method, url + query) as answer:
            assert answer.status == status


@pytest.mark.usefixtures("processes")
async def test_no_secret_is_in_logs_metrics_streams_or_the_console(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    secrets = [TOKEN, SECRET, "sk-upstream", "key-in-the-url"]
    environment = {"HEADGATE_LOG__REQUESTS": "info", "HEADGATE_LOG__LEVEL": "debug"}
    with gateway_with_proxy(tmp_path, is_durable=True, environment=environment) as gateway:
        target = f"{upstream.url}/v1?key=key-in-the-url"
        authorization = "Bearer sk-upstream"
        async with create(http, gateway, target, Upstream_Authorization=authorization) as answer:
            url = answer.headers["Location"]
        secrets.append(url.rpartition("=")[2])
        shown = []
        for each in (url, f"{url}&live=sse&offset=-1", f"{url}&live=long-poll&offset=now"):
            async with http.get(each) as answer:
                shown.append(await answer.text())
        async with http.get(f"{url}x") as answer:  # a forged one
            shown.append(await answer.text())
        async with http.head(f"{url}&secret={TOKEN}") as answer:
            assert answer.status == 200
        name = url.partition("?")[0].rpartition("/")[2]
        for each in (f"{STREAMS}/{name}", f"{STREAMS}/{name}/record"):
            async with http.get(gateway.url + each) as answer:
                assert answer.status == 200
                shown.append(await answer.text())
        pages = ("/metrics", f"/api/v1/runs?route={PREFIX}", "/api/v1/streams?route=/v1/stream")
        for each in pages:
            async with http.get(gateway.admin_url + each) as answer:
                assert answer.status == 200
                shown.append(await answer.text())
        await until(lambda: gateway.output().count("signature=[redacted]") >= 4)
        shown.append(gateway.output())
    for secret in secrets:
        assert not [text for text in shown if secret in text], secret
    ended = f'headgate_model_answers_total{{outcome="complete",route="{PREFIX}"}} 1'
    assert [text for text in shown if ended in text]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("mode", "text", "sentence"),
    [
        (0o644, "s" * 48, "must not be readable by other users"),
        (0o600, "short", "at least 32 characters"),
        (0o600, "", "at least 32 characters"),
    ],
    ids=["readable by others", "short", "empty"],
)
async def test_a_secret_that_others_may_know_is_refused_at_the_start(
    tmp_path: Path, mode: int, text: str, sentence: str
) -> None:
    secret = tmp_path / "other.secret"
    secret.write_text(text)
    secret.chmod(mode)
    with (
        pytest.raises(AssertionError, match=sentence),
        gateway_with_proxy(tmp_path, {"secret_file": str(secret)}),
    ):
        pass


MISTAKES = {
    "a prefix of a route": ({"prefix": "/v1/stream"}, "must not be the prefix of one"),
    "streams on no route": ({"streams": "/v2"}, "must be the prefix of one of the routes"),
    "a host that is none": ({"allow": ["https://a.example/path"]}, "an allowed host has no path"),
    "any host": ({"allow": ["*"]}, "must be"),
    "a secret file that is missing": (
        {"secret_file": "/nowhere/key"},
        "must be a file that can be read",
    ),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("settings", "sentence"), MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake_in_the_settings_is_named_at_the_start(
    tmp_path: Path, settings: dict[str, object], sentence: str
) -> None:
    with (
        pytest.raises(AssertionError, match=sentence),
        gateway_with_proxy(tmp_path, settings),
    ):
        pass


@pytest.mark.usefixtures("processes")
async def test_a_reload_of_the_secret_ends_the_signatures_of_the_former_one(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.hold()
    with gateway_with_proxy(tmp_path, is_durable=True) as gateway:
        url = await created(http, gateway, upstream)
        (tmp_path / "signing.secret").write_text("r" * 48)
        upstream.allow()
        assert gateway.process is not None
        gateway.process.send_signal(1)
        await until(lambda: "server.reloaded" in gateway.output())
        assert await refusal(http, "GET", url) == (401, "SIGNATURE_INVALID")
        async with http.get(url.partition("?")[0], headers=SERVICE) as answer:
            assert answer.status == 200
