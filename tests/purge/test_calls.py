"""The calls that each maker documents, and which of its answers say that it has been done."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.serialize import create_serializer

from headgate_gateway.errors import StartError
from headgate_gateway.protocol.cache_headers import stream_tag
from headgate_gateway.purge.drivers import driver_of
from headgate_gateway.purge.purges import Purges
from headgate_gateway.settings import PurgedCache
from headgate_gateway.telemetry.health import by_name
from tests.purge.double import NOW_S, SUCCESS, Double, file_of, refusal
from tests.support.log_lines import capture_logs
from tests.support.raw_origin import answer
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PREFIX = "/v1/stream"
TOKEN = "s3cret-t0ken"
KEY_ID = "AKIDEXAMPLE"
PATH = f"{PREFIX}/a%2Fb"
KINDS: dict[str, dict[str, Any]] = {
    "nginx": {"host": "streams.example.com"},
    "varnish": {},
    "fastly": {"zone": "SU1Z0isxPaozGVKXdv0eY", "token_file": file_of(TOKEN)},
    "cloudflare": {"zone": "023e105f4ecef8ad9ca31a8372d0c353", "token_file": file_of(TOKEN)},
    "cloudflare-worker": {"token_file": file_of(TOKEN)},
    "cloudfront": {"zone": "EDFDVBD6EXAMPLE", "token_file": file_of(f"{KEY_ID}:{TOKEN}")},
    "bunny": {"zone": "12345", "token_file": file_of(TOKEN)},
}
AT_ONCE = {
    "nginx": 1,
    "varnish": 64,
    "fastly": 256,
    "cloudflare": 30,
    "cloudflare-worker": 30,
    "cloudfront": 100,
    "bunny": 1,
}


def configured(kind: str, url: str = "http://localhost:1") -> PurgedCache:
    return PurgedCache.of({"kind": kind, "url": url, **KINDS[kind]})


@asynccontextmanager
async def purging(kind: str) -> AsyncIterator[tuple[Double, Purges]]:
    async with Double() as double:
        purges = Purges([configured(kind, double.url)], lambda: 0.0, wall_clock=lambda: NOW_S)
        purges.open()
        try:
            yield double, purges
        finally:
            await purges.close()


def counted(purges: Purges, kind: str) -> dict[str, float]:
    return {
        sample.values[-1]: sample.number
        for sample in purges.samples()
        if sample.metric.name == "headgate_purges_total" and sample.values[0] == kind
    }


STREAM = stream_tag(PATH)
EXPECTED: dict[str, tuple[str, dict[str, str], object]] = {
    "nginx": (f"PURGE {PATH}?*", {"host": "streams.example.com"}, None),
    "varnish": ("BAN /", {"surrogate-key": STREAM}, None),
    "fastly": (
        "POST /service/SU1Z0isxPaozGVKXdv0eY/purge",
        {"fastly-key": TOKEN, "accept": "application/json", "content-type": "application/json"},
        {"surrogate_keys": [STREAM]},
    ),
    "cloudflare": (
        "POST /client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache",
        {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
        {"tags": [STREAM]},
    ),
    "cloudflare-worker": (
        "POST /.headgate/purge",
        {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"},
        {"tags": [STREAM]},
    ),
    "cloudfront": (
        "POST /2020-05-31/distribution/EDFDVBD6EXAMPLE/invalidation",
        {"content-type": "text/xml"},
        None,  # XML: what is in it, below
    ),
    "bunny": (
        "POST /pullzone/12345/purgeCache",
        {"accesskey": TOKEN, "content-type": "application/json"},
        {"CacheTag": STREAM},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_purge_sends_the_documented_call_of_each_cache(kind: str) -> None:
    line, fields, body = EXPECTED[kind]
    async with purging(kind) as (double, purges):
        purges.purge(PREFIX, PATH)
        await until(lambda: counted(purges, kind)["done"] == 1)
        (call,) = double.calls
        assert call.line == line
        assert fields.items() <= call.named.items()
        assert (call.json if call.body[:1] == b"{" else None) == body
        here = f"localhost:{double.port}"
        places = {"nginx": f"{here} for streams.example.com", "varnish": here}
        places["cloudflare-worker"] = here
        place = places.get(kind) or KINDS[kind]["zone"]
        assert by_name(purges.notes()) == {f"purge {kind} {place}": None}


@pytest.mark.parametrize("kind", KINDS)
async def test_purges_that_arrive_during_a_call_are_sent_in_as_few_calls_as_the_api_allows(
    kind: str,
) -> None:
    most = AT_ONCE[kind]
    async with purging(kind) as (double, purges):
        double.goes.clear()
        purges.purge(PREFIX, PATH)
        await until(lambda: len(double.calls) == 1)
        for number in range(most + 1):
            purges.purge(PREFIX, f"{PREFIX}/{number}")
            purges.purge(PREFIX, f"{PREFIX}/{number}")
        double.goes.set()
        await until(lambda: counted(purges, kind)["done"] == most + 2)
        assert len(double.calls) == 3
        told = f"{double.calls[1]}"
        paths = [f"{PREFIX}/{number}" for number in range(most + 1)]
        named = [(f"{path}?*" if kind == "nginx" else stream_tag(path)) for path in paths]
        assert [name in told for name in named] == [True] * most + [False]


async def test_several_tags_are_sent_to_varnish_as_one_expression() -> None:
    async with purging("varnish") as (double, purges):
        double.goes.clear()
        purges.purge(PREFIX, PATH)
        await until(lambda: len(double.calls) == 1)
        purges.purge(PREFIX, "/x")
        purges.purge(PREFIX, "/y")
        double.goes.set()
        await until(lambda: len(double.calls) == 2)
        expression = f"{stream_tag('/x')}|{stream_tag('/y')}"
        assert double.calls[1].named["surrogate-key"] == expression


REFUSED: dict[tuple[str, str], str] = {
    ("nginx", "404 Not Found"): "it needs ngx_cache_purge 2.4 or newer",
    ("nginx", "412 Precondition Failed"): "it needs ngx_cache_purge 2.4 or newer",
    ("nginx", "405 Method Not Allowed"): "answers 405: it takes no purges",
    ("varnish", "501 Not Implemented"): "answers 501: it takes no purges",
    ("fastly", "401 Unauthorized"): "does not let us purge: it answers 401",
    ("cloudflare", "403 Forbidden"): "does not let us purge: it answers 403",
    ("cloudflare", "200 OK"): "does not answer that it was a success",
    ("cloudflare-worker", "401 Unauthorized"): "does not let us purge",
    ("cloudflare-worker", "200 OK"): "does not answer that it was a success",
    ("cloudfront", "403 Forbidden"): "does not let us purge: it answers 403",
    ("cloudfront", "404 Not Found"): "answers 404",
    ("bunny", "429 Too Many Requests"): "has had too many purges",
}
TOO_MANY = b"<Code>TooManyInvalidationsInProgress</Code>"
OTHER_ANSWERS: dict[str, tuple[str, bytes, str]] = {
    "html": ("cloudflare", answer(b"<html>"), "answers with what is no JSON"),
    "array": ("cloudflare", answer(b"[]"), "does not answer that it was a success"),
    "too-many": (
        "cloudfront",
        answer(TOO_MANY, status="400 Bad Request"),
        "has had too many purges: it answers 400",
    ),
    "redirect": ("bunny", refusal("302 Found", "Location: /elsewhere"), "answers 302"),
    "no-http": ("bunny", b"HTTP/1.1 nonsense\r\n\r\n", "sent no valid response"),
}
REFUSALS = OTHER_ANSWERS | {
    f"{kind}-{status[:3]}": (kind, refusal(status), why) for (kind, status), why in REFUSED.items()
}


@pytest.mark.parametrize(("kind", "refused", "reason"), REFUSALS.values(), ids=REFUSALS)
async def test_any_response_other_than_success_is_a_failed_purge_with_its_reason_shown(
    kind: str, refused: bytes, reason: str
) -> None:
    async with purging(kind) as (double, purges):
        double.last = refused
        purges.purge(PREFIX, PATH)
        await until(lambda: counted(purges, kind)["failed"] == 1)
        (note,) = by_name(purges.notes()).values()
        assert note is not None
        assert note.startswith("it ")
        assert reason in note
        assert "purges that wait: 1" in note
        assert TOKEN not in note
        assert len(double.calls) == 1  # also where it points elsewhere


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize(
    ("kind", "field", "one", "other"),
    [
        ("fastly", "zone", "A1", "B2"),
        ("cloudflare", "zone", "a1", "b2"),
        ("bunny", "zone", "7100001", "7200002"),
        ("nginx", "host", "a.test", "b.test"),
    ],
)
async def test_of_two_caches_of_one_kind_at_one_server_the_failing_one_is_shown_and_logged(
    kind: str, field: str, one: str, other: str, failing: int
) -> None:
    async with Double() as double:
        double.refused = (one, other)[failing]
        given = [
            {"kind": kind, "url": double.url, **KINDS[kind], field: name} for name in (one, other)
        ]
        purges = Purges(
            [PurgedCache.of(each) for each in given], lambda: 0.0, wall_clock=lambda: NOW_S
        )
        with capture_logs() as lines:
            purges.open()
            purges.purge(PREFIX, PATH)
            await until(lambda: len(lines) == 1 and counted(purges, kind)["done"] == 1)
            notes = by_name(purges.notes())
            await purges.close()
        places = (one, other)
        if kind == "nginx":
            places = (f"localhost:{double.port} for {one}", f"localhost:{double.port} for {other}")
        assert list(notes) == [f"purge {kind} {place}" for place in places]
        assert [note is not None for note in notes.values()] == [failing == 0, failing == 1]
        assert (lines[0]["event"], lines[0]["place"]) == ("purge.failed", places[failing])


async def test_a_cache_configured_twice_is_healthy_only_when_both_purges_succeeded() -> None:
    async with Double() as double:
        double.answers, double.last = [answer(SUCCESS)], refusal("500 Oops")
        purges = Purges(
            [configured("varnish", double.url)] * 2, lambda: 0.0, wall_clock=lambda: NOW_S
        )
        purges.open()
        purges.purge(PREFIX, PATH)
        await until(lambda: counted(purges, "varnish")["failed"] == 1)
        (note,) = by_name(purges.notes()).values()
        assert note is not None
        await purges.close()


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
async def test_any_2xx_response_of_bunny_is_a_done_purge(status: str) -> None:
    async with purging("bunny") as (double, purges):
        double.last = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
        purges.purge(PREFIX, PATH)
        await until(lambda: counted(purges, "bunny")["done"] == 1)


async def test_the_call_to_cloudfront_is_equal_to_that_of_the_aws_client() -> None:
    async with purging("cloudfront") as (double, purges):
        purges.purge(PREFIX, PATH)
        await until(lambda: counted(purges, "cloudfront")["done"] == 1)
        (call,) = double.calls
    model = botocore.session.get_session().get_service_model("cloudfront")
    operation = model.operation_model("CreateInvalidation")
    reference = re.findall(r"<CallerReference>(\w{16,})<", call.body.decode())[0]
    batch = {"Paths": {"Quantity": 1, "Items": [f"#{STREAM}"]}, "CallerReference": reference}
    given = {"DistributionId": "EDFDVBD6EXAMPLE", "InvalidationBatch": batch}
    sent = create_serializer("rest-xml").serialize_to_request(given, operation)
    assert call.line == f"{sent['method']} {sent['url_path']}"
    assert call.body == sent["body"]
    # Its own signer, given what has come, signs as it was signed.
    url = f"http://{call.named['host']}{sent['url_path']}"
    signed = ("host", "x-amz-content-sha256", "x-amz-date")
    fields = {name: call.named[name] for name in signed}
    request = AWSRequest("POST", url, headers=fields, data=call.body)
    request.context["timestamp"] = call.named["x-amz-date"]
    signer = SigV4Auth(Credentials(KEY_ID, TOKEN), "cloudfront", "us-east-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    scope = signer.scope(request)
    assert call.named["authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={';'.join(signed)}, "
        f"Signature={signer.signature(text, request)}"
    )
    assert call.named["x-amz-date"] == "20261123T210000Z"


@pytest.mark.parametrize("token", ["s3cret", ":s3cret", "AKID:"])
def test_an_invalid_cloudfront_access_key_keeps_the_gateway_from_starting(token: str) -> None:
    given = {"kind": "cloudfront", "zone": "EDFDVBD6EXAMPLE", "token_file": file_of(token)}
    with pytest.raises(StartError, match="must be ACCESS_KEY_ID:SECRET_ACCESS_KEY") as refused:
        driver_of(PurgedCache.of(given), lambda: NOW_S)
    assert "s3cret" not in str(refused.value)


def test_a_missing_token_file_keeps_the_gateway_from_starting(tmp_path: Path) -> None:
    given = {"kind": "bunny", "zone": "1", "token_file": str(tmp_path / "absent")}
    with pytest.raises(StartError, match="must be a file that can be read"):
        driver_of(PurgedCache.of(given), lambda: NOW_S)


def test_the_documented_success_answer_of_cloudflare_counts_as_success() -> None:
    assert driver_of(configured("cloudflare"), lambda: NOW_S).why_not(200, SUCCESS) is None
