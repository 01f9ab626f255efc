"""Bunny's pull zone and edge rules, by the published model of its API and by what they avoid."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from bunnynet.models.edge_rule import EdgeRule
from bunnynet.models.edge_rule_action_type import EdgeRuleActionType
from bunnynet.models.edge_rule_trigger import EdgeRuleTrigger
from bunnynet.models.edge_rule_trigger_type import EdgeRuleTriggerType
from bunnynet.models.pattern_matching_type import PatternMatchingType
from bunnynet.models.pull_zone import PullZone
from bunnynet.models.pull_zone_type import PullZoneType
from bunnynet.models.trigger_matching_type import TriggerMatchingType

from headgate_cdn.errors import Refused
from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import target
from tests.cdn_configs.published_types import mismatches

# Newer than the published model: their numbers are from Bunny's own provider for Terraform.
ENABLE_REQUEST_COALESCING = 33
REQUEST_METHOD = 9
NEWER_FIELDS = {"OrderIndex"}
GIVEN_BY_BUNNY = "Guid"  # of a rule: a new one has none

SETS_CACHE_TIME = EdgeRuleActionType.OVERRIDE_CACHE_TIME.value
HAS_HEADER = EdgeRuleTriggerType.REQUEST_HEADER.value
HAS_QUERY = EdgeRuleTriggerType.URL_QUERY_STRING.value
NONE_MATCHES = PatternMatchingType.MATCH_NONE.value
ANY_MATCHES = PatternMatchingType.MATCH_ANY.value


def made(**changes: Any) -> dict[str, Any]:
    said = {"upstream": "gateway.example.com:443", "host": "streams.example.com", **changes}
    parts: dict[str, Any] = json.loads(render(target("bunny"), Options(**said)))
    return parts


CHANGES: list[dict[str, Any]] = [
    {},
    {"upstream": "gateway.example.com:4437", "poll_s": 50, "purge": True},
    {"identity_headers": ("Authorization", "Cookie", "X-Api-Key")},
    {"identity_headers": ()},
    {"shield": "fr"},
]


# ---------------------------------------------------------------- what the API takes


def plain(name: str) -> str:
    """A field's name, whether it is the model's or that of the API: `origin_url`, `OriginUrl`."""
    return name.replace("_", "").lower()


def strays(value: dict[str, Any], model: type) -> list[str]:
    """Fields that the model has not, or has with another type."""
    kinds = {plain(name): kind for name, kind in get_type_hints(model).items()}
    wrong = []
    for name, part in value.items():
        kind = kinds.get(plain(name))
        if kind is None:
            wrong.append(f"{name}: unknown")
        elif name not in {"Triggers", "ActionType", "TriggerMatchingType", "PatternMatchingType"}:
            wrong += mismatches(part, kind, name)
    return wrong


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_the_bunny_pull_zone_uses_only_fields_of_the_published_model(
    changes: dict[str, Any],
) -> None:
    zone = made(**changes)["pull_zone"]
    kind = zone.pop("Type")
    assert PullZoneType(kind) is PullZoneType.PREMIUM
    assert strays(zone, PullZone) == []


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_each_bunny_edge_rule_uses_fields_and_numbers_of_the_published_model(
    changes: dict[str, Any],
) -> None:
    rules = made(**changes)["edge_rules"]
    assert [rule["OrderIndex"] for rule in rules] == list(range(1, len(rules) + 1))
    for rule in rules:
        assert GIVEN_BY_BUNNY not in rule
        known = {name: part for name, part in rule.items() if name not in NEWER_FIELDS}
        assert strays(known, EdgeRule) == []
        TriggerMatchingType(rule["TriggerMatchingType"])
        if rule["ActionType"] != ENABLE_REQUEST_COALESCING:
            EdgeRuleActionType(rule["ActionType"])
        for trigger in rule["Triggers"]:
            PatternMatchingType(trigger["PatternMatchingType"])
            if trigger["Type"] != REQUEST_METHOD:
                EdgeRuleTriggerType(trigger["Type"])
            named = {name: part for name, part in trigger.items() if name != "Type"}
            assert strays(named, EdgeRuleTrigger) == []


def test_the_comparison_with_the_bunny_model_finds_a_wrong_name_and_type() -> None:
    zone = {"OriginUrl": 7, "EnableQueryStringOrdering": True, "Colour": "red"}
    wrong, unknown = strays(zone, PullZone)
    assert wrong.startswith("OriginUrl: 7 is no ")
    assert unknown == "Colour: unknown"


# ---------------------------------------------------------------- what it avoids


def test_the_bunny_pull_zone_overrides_no_lifetime_of_the_gateway() -> None:
    zone = made()["pull_zone"]
    assert zone["CacheControlMaxAgeOverride"] == zone["CacheControlPublicMaxAgeOverride"] == -1
    off = {
        "EnableSmartCache",  # it would store no stream at all
        "IgnoreQueryStrings",  # it would mix offsets, and readers
        "UseStaleWhileUpdating",  # it would hide appends
        "UseStaleWhileOffline",
        "CacheErrorResponses",
        "EnableRequestCoalescing",  # it would mix readers, but for the rule about anonymous ones
        "DisableCookies",
        "BlockPostRequests",
    }
    assert [name for name in sorted(off) if zone[name] is not False] == []
    assert zone["EnableQueryStringOrdering"] is zone["EnableHostnameVary"] is True


def test_the_bunny_pull_zone_has_the_chosen_shield_or_none() -> None:
    zone = made()["pull_zone"]
    assert zone["EnableOriginShield"] is False
    assert "OriginShieldZoneCode" not in zone
    zone = made(shield="il")["pull_zone"]
    assert (zone["EnableOriginShield"], zone["OriginShieldZoneCode"]) == (True, "IL")


def test_the_bunny_pull_zone_retries_no_request() -> None:
    zone = made()["pull_zone"]
    assert zone["OriginRetries"] == 0
    assert not any(zone[name] for name in zone if name.startswith("OriginRetry"))


@pytest.mark.parametrize("poll_s", [1, 50])
def test_bunny_timeouts_exceed_the_long_poll(poll_s: int) -> None:
    zone = made(poll_s=poll_s)["pull_zone"]
    assert zone["RequestCoalescingTimeout"] == poll_s + 45
    assert zone["OriginResponseTimeout"] > poll_s


@pytest.mark.parametrize(
    "names", [("Authorization", "Cookie"), ("Authorization", "X-Api-Key"), ()], ids=str
)
def test_bunny_rules_exclude_readers_with_credentials_from_cache_and_coalescing(
    names: tuple[str, ...],
) -> None:
    digest, *uncached, shared = made(identity_headers=names)["edge_rules"]
    assert EdgeRuleActionType(digest["ActionType"]) is EdgeRuleActionType.SET_RESPONSE_HEADER
    of_readers = [rule for rule in uncached if rule["Triggers"][0]["Type"] == HAS_HEADER]
    assert [rule["Triggers"][0]["Parameter1"] for rule in of_readers] == list(names)
    # Such a rule stores what it names for as long as it says: here that is never.
    assert {(rule["ActionType"], rule["ActionParameter1"]) for rule in uncached} == {
        (SETS_CACHE_TIME, "0")
    }
    assert shared["ActionType"] == ENABLE_REQUEST_COALESCING
    assert shared["TriggerMatchingType"] == TriggerMatchingType.MATCH_ALL.value
    *without, not_now, method = shared["Triggers"]
    assert [trigger["Parameter1"] for trigger in without] == list(names)
    one_cookie = ["*__Secure-headgate*"]
    named = {name: one_cookie if name == "Cookie" else ["*"] for name in names}
    for triggers in (without, [rule["Triggers"][0] for rule in of_readers]):
        found = {trigger["Parameter1"]: trigger["PatternMatches"] for trigger in triggers}
        assert found == named
    assert {trigger["PatternMatchingType"] for trigger in (*without, not_now)} == {NONE_MATCHES}
    # Who joins SSE may get its events when it ends, by one of two pages of Bunny's.
    alone = ["*offset=now*", "*token=*", "*live=sse*"]
    assert (not_now["Type"], not_now["PatternMatches"]) == (HAS_QUERY, alone)
    assert (method["PatternMatches"], method["PatternMatchingType"]) == (["GET"], ANY_MATCHES)


def test_bunny_rules_store_no_head_and_no_get_without_offset() -> None:
    of_head, without_offset = made()["edge_rules"][-3:-1]
    for rule in (of_head, without_offset):
        assert (rule["ActionType"], rule["ActionParameter1"]) == (SETS_CACHE_TIME, "0")
    (trigger,) = of_head["Triggers"]
    assert (trigger["Type"], trigger["PatternMatches"]) == (REQUEST_METHOD, ["HEAD"])
    # The rule above stores no HEAD, but would give out the copy of a GET: so there is none.
    (trigger,) = without_offset["Triggers"]
    assert (trigger["Type"], trigger["PatternMatchingType"]) == (HAS_QUERY, NONE_MATCHES)
    assert trigger["PatternMatches"] == ["*offset=*"]


@pytest.mark.parametrize(
    ("upstream", "url"),
    [
        ("gateway.example.com:443", "https://gateway.example.com:443"),
        ("gateway.example.com:4437", "http://gateway.example.com:4437"),
        ("[2001:db8::1]:4437", "http://[2001:db8::1]:4437"),
    ],
)
def test_bunny_connects_to_port_443_by_https(upstream: str, url: str) -> None:
    zone = made(upstream=upstream)["pull_zone"]
    assert zone["OriginUrl"] == url
    assert zone["VerifyOriginSSL"] is url.startswith("https:")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"poll_s": 51}, "cannot hold long-polls of 51 s: 60 s is the longest"),
        ({"heartbeat_s": 26}, "cannot pass on SSE with heartbeats every 26 s"),
        ({"credentials": "per-credential"}, "its cache key takes no header"),
        ({"told_apart": True}, "the copy of an anonymous reader's answer"),
        ({"shield": "eu-central-1"}, "takes fr .Paris. or il .Chicago. as --shield"),
        ({"compress_private": True}, "compresses nothing by this file"),
        ({"sites": True}, "cannot keep the answers for one web site apart"),
    ],
)
def test_options_beyond_the_limits_of_bunny_are_refused_with_the_reason(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused, match=told):
        made(**changes)
