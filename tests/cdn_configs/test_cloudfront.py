"""CloudFront: policies and distribution by AWS's own model, the function in a JavaScript engine."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from headgate_cdn.errors import Refused
from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import target
from headgate_gateway.protocol.cache_headers import TAG_HEADERS, stream_tag
from tests.support.processes import NODE, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from botocore.model import ServiceModel, Shape

HARNESS = ROOT / "tests/node/cloudfront_function.mjs"
LONGEST_FUNCTION = 10 * 1024  # AWS's quota
LONGEST_READ_TIMEOUT_S = 120  # without asking AWS for more
REQUEST = "request-1"


def file(name: str, **changes: Any) -> str:
    said = {"upstream": "gateway.example.com:443", "host": "streams.example.com", **changes}
    return render(target(name), Options(**said))


def parts(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(file("cloudfront", **changes))
    return made


@pytest.fixture(scope="module")
def model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("cloudfront")


# ---------------------------------------------------------------- what the API takes


def calls(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The calls of the API that the parts are for, and what each is given."""
    return {
        "CreateFunction": {**made["function"], "FunctionCode": b"// the other file"},
        "CreateCachePolicy": {"CachePolicyConfig": made["cache_policy"]},
        "CreateOriginRequestPolicy": {"OriginRequestPolicyConfig": made["origin_request_policy"]},
        "CreateResponseHeadersPolicy": {
            "ResponseHeadersPolicyConfig": made["response_headers_policy"]
        },
        "CreateDistribution": {"DistributionConfig": made["distribution"]},
    }


def strays(value: Any, shape: Shape, at: str = "") -> Iterator[str]:
    """What botocore leaves to the server: texts that are no choice, and counts that are wrong."""
    if shape.type_name == "structure":
        if "Quantity" in shape.members and value["Quantity"] != len(value.get("Items", ())):
            yield f"{at}: Quantity"
        for name, part in value.items():
            yield from strays(part, shape.members[name], f"{at}.{name}")
    elif shape.type_name == "list":
        for number, part in enumerate(value):
            yield from strays(part, shape.member, f"{at}[{number}]")
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{at}: {value} is none of {shape.enum}"


CHANGES = [
    {},
    {"upstream": "gateway.example.com:4437", "poll_s": 75},
    {"identity_headers": ("Authorization",), "sites": True},
    {"identity_headers": ()},
    {"shield": "eu-central-1"},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_cloudfront_policies_and_distribution_match_the_published_model(
    changes: dict[str, Any], model: ServiceModel
) -> None:
    for call, given in calls(parts(**changes)).items():
        shape = model.operation_model(call).input_shape
        assert shape is not None
        assert ParamValidator().validate(given, shape).generate_report() == "", call
        assert list(strays(given, shape)) == [], call


def test_the_comparison_with_the_aws_model_finds_wrong_names_types_and_counts(
    model: ServiceModel,
) -> None:
    given = calls(parts())["CreateDistribution"]
    shape = model.operation_model("CreateDistribution").input_shape
    assert shape is not None
    wrong = given["DistributionConfig"]
    wrong["Enabled"], wrong["Colour"], wrong["HttpVersion"] = "yes", "red", "http9"
    wrong["Aliases"]["Quantity"] = 2
    report = ParamValidator().validate(given, shape).generate_report()
    assert "DistributionConfig.Enabled" in report
    assert 'Unknown parameter in DistributionConfig: "Colour"' in report
    del wrong["Colour"]
    assert {stray.partition(":")[0] for stray in strays(given, shape)} == {
        ".DistributionConfig.HttpVersion",
        ".DistributionConfig.Aliases",
    }


# ---------------------------------------------------------------- what it avoids


def test_cloudfront_policies_override_no_lifetime_and_forward_the_whole_query() -> None:
    made = parts()
    policy = made["cache_policy"]
    assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 0)
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["HeadersConfig"]["Headers"]["Items"] == ["Authorization", "x-headgate-alone"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    assert key["CookiesConfig"] == {"CookieBehavior": "all"}
    behaviour = made["distribution"]["DefaultCacheBehavior"]
    assert {"POST", "PUT", "DELETE"} < set(behaviour["AllowedMethods"]["Items"])
    assert behaviour["Compress"] is False
    errors = made["distribution"]["CustomErrorResponses"]["Items"]
    assert {error["ErrorCachingMinTTL"] for error in errors} == {0}
    assert {404, 503} < {error["ErrorCode"] for error in errors}


def test_the_cloudfront_cache_key_ignores_cookies_without_cookie_identity() -> None:
    made = parts(identity_headers=("Authorization",))
    key = made["cache_policy"]["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["CookiesConfig"] == {"CookieBehavior": "none"}


@pytest.mark.parametrize("sites", [False, True])
def test_the_cloudfront_cache_key_contains_the_origin_header_only_with_sites(sites: bool) -> None:
    key = parts(sites=sites)["cache_policy"]["ParametersInCacheKeyAndForwardedToOrigin"]
    assert ("Origin" in key["HeadersConfig"]["Headers"]["Items"]) is sites


@pytest.mark.parametrize(("poll_s", "wait_s"), [(1, 46), (20, 65), (75, LONGEST_READ_TIMEOUT_S)])
def test_the_cloudfront_read_timeout_exceeds_the_long_poll(poll_s: int, wait_s: int) -> None:
    origin = parts(poll_s=poll_s)["distribution"]["Origins"]["Items"][0]
    assert origin["CustomOriginConfig"]["OriginReadTimeout"] == wait_s


@pytest.mark.parametrize(
    ("port", "policy", "plain"), [(443, "https-only", 80), (81, "http-only", 81)]
)
def test_cloudfront_connects_to_port_443_by_https(port: int, policy: str, plain: int) -> None:
    made = parts(upstream=f"gateway.example.com:{port}")
    origin = made["distribution"]["Origins"]["Items"][0]
    assert origin["DomainName"] == "gateway.example.com"
    custom = origin["CustomOriginConfig"]
    assert (custom["OriginProtocolPolicy"], custom["HTTPPort"]) == (policy, plain)


def test_cloudfront_uses_a_cache_tag_header_that_the_gateway_sends() -> None:
    made = parts(purge=True)["distribution"]
    (header,) = made["CacheTagConfig"].values()
    assert (header, ",") in TAG_HEADERS  # AWS wants commas between tags
    # AWS takes no case for a difference, and has 256 characters for a tag.
    assert re.fullmatch(r"[!-+\--@\[-~]{1,256}", stream_tag("/v1/stream/A%2Fb"))


def test_cloudfront_uses_an_origin_shield_only_with_a_named_region() -> None:
    (own,), (shielded,) = (
        parts(**changes)["distribution"]["Origins"]["Items"]
        for changes in ({}, {"shield": "ap-northeast-1"})
    )
    assert "OriginShield" not in own
    assert shielded["OriginShield"] == {"Enabled": True, "OriginShieldRegion": "ap-northeast-1"}


@pytest.mark.parametrize("name", ["cloudfront", "cloudfront-function"])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"poll_s": 76}, "cannot hold long-polls of 76 s: CloudFront waits 120 s"),
        ({"heartbeat_s": 31}, "cannot pass on SSE with heartbeats every 31 s"),
        ({"credentials": "per-credential"}, "CloudFront stores nothing that is private"),
        ({"shield": "frankfurt-de"}, "takes a region of AWS such as eu-central-1 as --shield"),
    ],
)
def test_options_beyond_the_limits_of_cloudfront_are_refused_with_the_reason(
    name: str, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused, match=told):
        file(name, **changes)


# ---------------------------------------------------------------- the function


def event(url: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    """A viewer request as CloudFront hands it to a function: nothing of the query is decoded."""
    path, _, query = url.partition("?")
    found: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        one = {"value": value}
        if name in found:
            found[name].setdefault("multiValue", [{"value": found[name]["value"]}]).append(one)
        else:
            found[name] = one
    named = {name.replace("_", "-"): {"value": value} for name, value in headers.items()}
    pairs = named.pop("cookie", {"value": ""})["value"].split("; ")
    return {
        "version": "1.0",
        "context": {"eventType": "viewer-request", "requestId": REQUEST},
        "viewer": {"ip": "192.0.2.1"},
        "request": {
            "method": method,
            "uri": path,
            "querystring": found,
            "headers": {"host": {"value": "streams.example.com"}, **named},
            "cookies": {
                name: {"value": value}
                for name, _, value in (pair.partition("=") for pair in pairs if pair)
            },
        },
    }


def ran(source: str, folder: Path, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """What the function makes of each event."""
    (folder / "function.js").write_text(source)
    done = subprocess.run(
        [NODE, HARNESS, folder / "function.js"],
        input=json.dumps(events),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


SHARED = {
    "catch-up": event("/v1/stream/a?offset=-1"),
    "all-of-it": event("/v1/stream/a"),
    "long-poll": event("/v1/stream/a?offset=0_1&live=long-poll&cursor=7"),
    "a-header-that-is-no-credential": event("/v1/stream/a?offset=-1", accept="*/*"),
    "a-cookie-that-is-no-credential": event("/v1/stream/a?offset=-1", cookie="a=b"),
}
ALONE = {
    "sse": event("/v1/stream/a?offset=-1&live=sse"),
    "a-live-that-is-unknown": event("/v1/stream/a?offset=-1&live=%73se"),
    "live-in-disguise": event("/v1/stream/a?offset=-1&l%69ve=sse"),
    "now": event("/v1/stream/a?offset=now"),
    "long-poll-from-now": event("/v1/stream/a?offset=now&live=long-poll"),
    "offset-twice": event("/v1/stream/a?offset=1&offset=2"),
    "live-twice": event("/v1/stream/a?offset=1&live=long-poll&live=sse"),
    "cursor-twice": event("/v1/stream/a?offset=1&live=long-poll&cursor=1&cursor=1"),
    "head": event("/v1/stream/a?offset=-1", "HEAD"),
    "post": event("/v1/stream/a", "POST"),
    "authorization": event("/v1/stream/a?offset=-1", authorization="Bearer a"),
    "another-credential": event("/v1/stream/a?offset=-1", x_api_key="a"),
    "the-reader's-cookie": event("/v1/stream/a?offset=-1", cookie="a=b; __Secure-headgate=c"),
    "a-cookie-for-an-http-origin": event("/v1/origin/a?offset=-1", cookie="a=b"),
}
KEYS = ("Authorization", "Cookie", "X-Api-Key")


@pytest.fixture(scope="module")
def keys(processes: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What the function puts into the key of each event, beside path and query."""
    cases = {**SHARED, **ALONE}
    source = file("cloudfront-function", identity_headers=KEYS)
    answers = ran(source, tmp_path_factory.mktemp("function"), *cases.values())
    return {
        name: answer["headers"].get("x-headgate-alone", {}).get("value")
        for name, answer in zip(cases, answers, strict=True)
    }


@pytest.mark.parametrize("name", SHARED)
def test_the_cloudfront_function_gives_shared_reads_one_cache_key(
    name: str, keys: dict[str, str | None]
) -> None:
    assert keys[name] is None


@pytest.mark.parametrize("name", ALONE)
def test_the_cloudfront_function_gives_unshared_requests_a_cache_key_of_their_own(
    name: str, keys: dict[str, str | None]
) -> None:
    assert keys[name] == REQUEST


@pytest.mark.usefixtures("processes")
def test_the_cloudfront_function_sorts_the_query_of_shared_reads_without_loss(
    tmp_path: Path,
) -> None:
    (one, other, twice, none, own) = ran(
        file("cloudfront-function"),
        tmp_path,
        event("/of/an/origin?offset=0_1&live=long-poll&cursor=7&x=a%26b"),
        event("/of/an/origin?x=a%26b&cursor=7&live=long-poll&offset=0_1"),
        event("/of/an/origin?x=2&x=1&offset=0_1&__proto__=1&A"),
        event("/v1/stream/a"),
        event("/v1/stream/a?x=2&x=1&offset=0_1&__proto__=1&A&view=text"),
    )
    assert one["querystring"] == "cursor=7&live=long-poll&offset=0_1&x=a%26b"
    assert other["querystring"] == one["querystring"]
    assert twice["querystring"] == "A=&__proto__=1&offset=0_1&x=2&x=1"
    assert none["querystring"] == ""
    assert own["querystring"] == "offset=0_1&view=text"  # streams of own logs ignore the others


@pytest.mark.usefixtures("processes")
def test_the_cloudfront_function_overwrites_a_cache_key_header_of_the_client(
    tmp_path: Path,
) -> None:
    shared = event("/v1/stream/a?offset=-1", x_headgate_alone="mine")
    alone = event("/v1/stream/a?offset=-1&live=sse", x_headgate_alone="mine")
    answers = ran(file("cloudfront-function"), tmp_path, shared, alone)
    assert "x-headgate-alone" not in answers[0]["headers"]
    assert answers[1]["headers"]["x-headgate-alone"] == {"value": REQUEST}


@pytest.mark.usefixtures("processes")
def test_the_cloudfront_function_changes_only_the_cache_key_header_of_a_post(
    tmp_path: Path,
) -> None:
    asked = event("/v1/stream/a%2Fb", "POST", content_type="text/plain", cookie="a=b")
    (answer,) = ran(file("cloudfront-function"), tmp_path, asked)
    expected = asked["request"]
    expected["headers"]["x-headgate-alone"] = {"value": REQUEST}
    assert answer == expected


@pytest.mark.usefixtures("processes")
def test_the_cloudfront_function_ignores_cookies_without_cookie_identity(
    tmp_path: Path,
) -> None:
    source = file("cloudfront-function", identity_headers=("Authorization",))
    (answer,) = ran(source, tmp_path, event("/v1/stream/a?offset=-1", cookie="a=b"))
    assert "x-headgate-alone" not in answer["headers"]


def test_the_cloudfront_function_uses_only_syntax_of_its_runtime() -> None:
    source = file("cloudfront-function", identity_headers=("Authorization", "Cookie", *"ABC"))
    assert len(source.encode()) < LONGEST_FUNCTION
    # The one module that there is, as its documentation has it.
    code = re.sub(r"//.*", "", source).replace('import cf from "cloudfront";', "", 1)
    # Of what is newer than ES5.1, the runtime has const, let and arrows; no `for of`.
    for missing in (" of ", "?.", "??", "class ", "import", "require", "eval", "async", "await"):
        assert missing not in code


@pytest.mark.usefixtures("processes")
def test_cloudfront_waits_for_sse_only_until_a_heartbeat_is_overdue(tmp_path: Path) -> None:
    source = file("cloudfront-function", heartbeat_s=20)
    sse, poll, append = ran(
        source,
        tmp_path,
        event("/v1/stream/a?offset=-1&live=sse"),
        event("/v1/stream/a?offset=-1&live=long-poll"),
        event("/v1/stream/a", method="POST"),
    )
    assert sse["origin"] == {"timeouts": {"readTimeout": 22}}
    assert "origin" not in poll | append


def test_the_placeholders_of_the_cloudfront_file_are_those_of_its_readme() -> None:
    text = file("cloudfront")
    open_places = set(re.findall(r'"([A-Z_]+_(?:ID|ARN))"', text))
    readme = (ROOT / "cdn_configs/headgate_cdn/cloudfront/README.md").read_text()
    assert open_places == set(re.findall(r"s\|([A-Z_]+)\|", readme))
    assert len(open_places) == 5
