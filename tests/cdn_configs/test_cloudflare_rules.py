"""Cloudflare's rules: by the published types and parser, and what they make of each request."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from octorules_wirefilter import parse_expression

from headgate_cdn.errors import Refused
from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.rules import RULES
from headgate_cdn.targets import target
from headgate_gateway.protocol import cache_headers
from headgate_gateway.protocol.cache_headers import Freshness
from tests.cdn_configs.cloudflare_expressions import holds
from tests.cdn_configs.published_types import mismatches
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from types import ModuleType

CONFIG, REQUEST, RESPONSE = (
    "http_config_settings",
    "http_request_cache_settings",
    "http_response_cache_settings",
)
PHASES = (CONFIG, REQUEST, RESPONSE)
TRANSFORM = "http_response_headers_transform"
SETTINGS = "zone_settings"
FREE_RULES = 10  # of each phase, on the smallest plan
HOST = "streams.example.com"
# Fields of an answer, which a rule about requests cannot look at.
OF_ANSWERS = "http.response."


def rulesets(**changes: Any) -> dict[str, Any]:
    said = {"upstream": "gateway.example.com:443", "host": HOST, **changes}
    made: dict[str, Any] = json.loads(render(target("cloudflare-rules"), Options(**said)))
    return made


CHANGES: list[dict[str, Any]] = [
    {},
    {"purge": True, "prefixes": ("/v1/stream", "/a.b/c-d")},
    {"identity_headers": ("Authorization", "X-Api-Key"), "poll_s": 55},
    {"identity_headers": ()},
]


# ---------------------------------------------------------------- what the API takes


@pytest.fixture(scope="module")
def published() -> ModuleType:
    return importlib.import_module("tests.cdn_configs.cloudflare_types")


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_each_cloudflare_ruleset_matches_the_published_types(
    changes: dict[str, Any], published: ModuleType
) -> None:
    made = rulesets(**changes)
    assert made.keys() == {"description", "purpose", SETTINGS, *PHASES, TRANSFORM}
    for phase in (*PHASES, TRANSFORM):
        assert mismatches(phase, published.Phase) == []
        assert mismatches(made[phase], published.PhaseUpdateParams, phase) == []
        assert len(made[phase]["rules"]) <= FREE_RULES
        refs = [rule["ref"] for rule in made[phase]["rules"]]
        assert len(set(refs)) == len(refs)


def test_cloudflare_tiered_cache_settings_match_the_published_client(
    published: ModuleType,
) -> None:
    kinds = {
        "argo/tiered_caching": published.TieredCachingEditParams,
        "cache/tiered_cache_smart_topology_enable": published.SmartTieredCacheEditParams,
    }
    settings = rulesets()[SETTINGS]
    assert settings == {place: {"value": "on"} for place in kinds}
    for place, kind in kinds.items():
        assert mismatches({"zone_id": "a", **settings[place]}, kind) == []
    readme = (ROOT / "cdn_configs/headgate_cdn/cloudflare_rules/README.md").read_text()
    assert f"for SETTING in {' '.join(kinds)}; do" in readme


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_each_cloudflare_expression_is_accepted_by_its_parser(changes: dict[str, Any]) -> None:
    made = rulesets(**changes)
    for phase in PHASES:
        for rule in made[phase]["rules"]:
            parsed = parse_expression(rule["expression"])
            assert "error" not in parsed, parsed["error"]
            about_answers = any(field.startswith(OF_ANSWERS) for field in parsed["fields"])
            assert phase == RESPONSE or not about_answers


def test_the_comparison_with_cloudflare_types_finds_wrong_names_types_and_operators(
    published: ModuleType,
) -> None:
    made = rulesets()
    share, tail = made[REQUEST]["rules"][1], made[RESPONSE]["rules"][1]
    share["action_parameters"] |= {"cache": "yes", "colour": "red"}
    del share["action_parameters"]["edge_ttl"]["mode"]
    tail["action_parameters"]["s-maxage"]["operation"] = "sit"
    assert mismatches(share, published.SetCacheSettingsRuleParam) == [
        ".action_parameters.cache: 'yes' is no bool",
        ".action_parameters.edge_ttl: mode is missing",
        ".action_parameters.colour: unknown",
    ]
    assert mismatches(made[REQUEST], published.PhaseUpdateParams) != []
    (wrong,) = mismatches(made[RESPONSE], published.PhaseUpdateParams)
    assert wrong.startswith(".rules[1].action_parameters.s-maxage.operation: 'sit' is none of")
    assert "error" in parse_expression('http.host resembles "a"')
    assert "error" in parse_expression("http.host eq 7")


# ---------------------------------------------------------------- what becomes of a request


def request(target_: str, method: str = "GET", host: str = HOST, **headers: str) -> dict[str, Any]:
    """The fields of a request that the rules look at."""
    path, _, query = target_.partition("?")
    return {
        "http.host": host,
        "http.request.method": method,
        "http.request.uri.path": path,
        "http.request.uri.query": query,
        "http.cookie": headers.get("cookie", ""),
        "http.request.headers.names": [name.replace("_", "-") for name in headers],
    }


def settled(made: dict[str, Any], phase: str, facts: dict[str, Any]) -> dict[str, Any]:
    """What the rules that match say; of two that say the same thing, the last counts."""
    said: dict[str, Any] = {}
    for rule in made[phase]["rules"]:
        if holds(rule["expression"], facts):
            said.update(rule["action_parameters"])
    return said


SHARED = {
    "catch-up": request("/v1/stream/a?offset=-1"),
    "all-of-it": request("/v1/stream/a"),
    "long-poll": request("/v1/stream/a?cursor=7&live=long-poll&offset=0_1"),
    "a-header-that-is-no-credential": request("/v1/stream/a?offset=-1", accept="*/*"),
    "a-cookie-that-is-no-credential": request("/v1/stream/a?offset=-1", cookie="a=b"),
}
PASSED = {
    "head": request("/v1/stream/a?offset=-1", "HEAD"),
    "post": request("/v1/stream/a", "POST"),
    "sse": request("/v1/stream/a?offset=-1&live=sse"),
    "a-live-that-is-unknown": request("/v1/stream/a?offset=-1&live=%73se"),
    "now": request("/v1/stream/a?offset=now"),
    "authorization": request("/v1/stream/a?offset=-1", authorization="Bearer a"),
    "another-credential": request("/v1/stream/a?offset=-1", x_api_key="a"),
    "the-reader's-cookie": request("/v1/stream/a", cookie="a=b; __Secure-headgate=c"),
    "a-cookie-for-an-http-origin": request("/v1/origin/a?offset=-1", cookie="a=b"),
    "a-stream-named-like-a-file": request("/v1/stream/a.js", authorization="Bearer a"),
}
NOT_OURS = {
    "another-host": request("/v1/stream/a", host="www.example.com"),
    "another-path": request("/v1/streams"),
}
MIXED = {
    "identity_headers": ("Authorization", "Cookie", "X-Api-Key"),
    "prefixes": ("/v1/stream", "/v1/origin"),
}


@pytest.mark.parametrize("name", SHARED)
def test_cloudflare_rules_allow_storing_shared_reads(name: str) -> None:
    said = settled(rulesets(**MIXED), REQUEST, SHARED[name])
    assert said["cache"] is True
    assert said["cache_key"] == {"ignore_query_strings_order": True}
    # Without a lifetime nothing is stored; Cloudflare's default for 200 is two hours.
    assert said["edge_ttl"] == {"mode": "bypass_by_default"}
    assert said["browser_ttl"] == {"mode": "respect_origin"}


@pytest.mark.parametrize("name", PASSED)
def test_cloudflare_rules_bypass_the_cache_for_all_other_requests(name: str) -> None:
    assert settled(rulesets(**MIXED), REQUEST, PASSED[name]) == {"cache": False}


@pytest.mark.parametrize("name", NOT_OURS)
def test_cloudflare_rules_do_not_apply_to_the_rest_of_the_zone(name: str) -> None:
    made = rulesets()
    assert [settled(made, phase, {**NOT_OURS[name], **answer(200)}) for phase in PHASES] == [{}] * 3


def test_cloudflare_rules_disable_buffering_and_rewriting_of_stream_bodies() -> None:
    for facts in (*SHARED.values(), *PASSED.values()):
        said = settled(rulesets(**MIXED), CONFIG, facts)
        assert said["request_body_buffering"] == said["response_body_buffering"] == "none"
        assert said["email_obfuscation"] is said["rocket_loader"] is False


# ---------------------------------------------------------------- what becomes of an answer


def answer(status: int, lines: str = "", **more: str) -> dict[str, Any]:
    """The fields of an answer, with the gateway's own header lines."""
    fields = {name.lower(): [value] for name, value in cache_headers.fields(lines)}
    fields |= {name.replace("_", "-"): [value] for name, value in more.items()}
    return {
        "http.response.code": status,
        "http.response.headers": fields,
        "http.response.headers.names": list(fields),
    }


POLL = SHARED["long-poll"]
CATCH_UP = SHARED["catch-up"]
TAIL = cache_headers.tail_lifetime(Freshness())
LONG_TAIL = cache_headers.tail_lifetime(Freshness(tail_max_age=60))
EMPTY = {"stream_up_to_date": "true", "content_length": "2"}
MOMENT = {"operation": "set", "value": RULES.moment_s, "cloudflare_only": True}
KEPT_A_MOMENT = {
    "no-news": (POLL, answer(204, cache_headers.POLL_TIMEOUT), "no-store"),
    "an-empty-tail": (CATCH_UP, answer(200, TAIL, **EMPTY), "no-cache"),
    "an-empty-tail-kept-for-a-minute": (CATCH_UP, answer(200, LONG_TAIL, **EMPTY), "no-cache"),
}
CHUNK = cache_headers.chunk_lifetime(Freshness(), None)
AS_THE_GATEWAY_SAYS = {
    "a-whole-chunk": (CATCH_UP, answer(200, CHUNK, content_length="2")),
    "a-tail-with-data": (CATCH_UP, answer(200, TAIL, stream_up_to_date="true", content_length="9")),
    "no-news-of-a-closed-stream": (POLL, answer(204, cache_headers.NO_STORE)),
    "a-write": (PASSED["post"], answer(204, cache_headers.NO_STORE)),
    "a-tail-asked-for-each-time": (
        CATCH_UP,
        answer(200, cache_headers.tail_lifetime(Freshness(tail_max_age=0)), **EMPTY),
    ),
    "a-private-tail": (CATCH_UP, answer(200, "Cache-Control: private, s-maxage=1\r\n", **EMPTY)),
    "a-tail-with-a-cookie": (CATCH_UP, answer(200, TAIL, set_cookie="a=b", **EMPTY)),
    "private-no-news": (
        POLL,
        answer(204, "Cache-Control: private\r\nCDN-Cache-Control: max-age=1\r\n"),
    ),
}


@pytest.mark.parametrize("name", KEPT_A_MOMENT)
def test_cloudflare_rules_store_responses_without_news_for_a_moment(name: str) -> None:
    asked, answered, forbidden = KEPT_A_MOMENT[name]
    said = settled(rulesets(), RESPONSE, {**asked, **answered})
    assert said["s-maxage"] == MOMENT
    assert said[forbidden] == {"operation": "remove", "cloudflare_only": True}
    assert all(change["cloudflare_only"] for change in said.values())


@pytest.mark.parametrize("name", AS_THE_GATEWAY_SAYS)
def test_cloudflare_rules_change_no_other_lifetime_of_the_gateway(name: str) -> None:
    asked, answered = AS_THE_GATEWAY_SAYS[name]
    assert settled(rulesets(), RESPONSE, {**asked, **answered}) == {}


def test_cloudflare_rules_for_purges_add_a_tag_for_all_streams() -> None:
    facts = {**CATCH_UP, **answer(200, CHUNK)}
    tagged = {"operation": "add", "values": ["headgate"]}
    assert settled(rulesets(purge=True), RESPONSE, facts) == tagged


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"poll_s": 56}, "cannot hold long-polls of 56 s: Cloudflare waits 100 s"),
        ({"heartbeat_s": 46}, "cannot pass on SSE with heartbeats every 46 s"),
        ({"credentials": "per-credential"}, "only the Enterprise plan takes a header"),
        ({"host": ""}, "needs the host name"),
        ({"sites": True}, "cannot keep the answers for one web site apart"),
    ],
)
def test_options_beyond_the_limits_of_cloudflare_rules_are_refused_with_the_reason(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused, match=told):
        rulesets(**changes)
