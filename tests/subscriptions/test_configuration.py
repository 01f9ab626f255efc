"""Subscriptions are created, confirmed, described and deleted."""

from __future__ import annotations

import json

import pytest

from headgate_gateway.logs.memory import MemoryLog
from tests.subscriptions.receivers import receiver, subscribed
from tests.support.serving import PREFIX, request, serving

PULL = {"type": "pull-wake", "pattern": "events/*", "wake_stream": "wakes"}


async def test_a_subscription_is_created_confirmed_and_refused_with_another_configuration() -> None:
    async with subscribed() as gateway:
        assert (await gateway.put("s", **PULL, streams=["b", "/a/", "a"]))[0] == 201
        # Slashes around names, the order and repetitions are no difference.
        assert (await gateway.put("s", **PULL, streams=["a", "b"]))[0] == 200
        status, told = await gateway.put("s", **PULL, streams=["a"])
        assert (status, told["error"]["code"]) == (409, "SUBSCRIPTION_ALREADY_EXISTS")
        status, told = await gateway.put("s", **{**PULL, "lease_ttl_ms": 1000}, streams=["a", "b"])
        assert (status, told["error"]["code"]) == (409, "SUBSCRIPTION_ALREADY_EXISTS")


async def test_a_subscription_is_described_as_the_protocol_has_it() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="/events/*/", streams=["x"], description="mine")
        _, told = await gateway.ask("GET", "s")
        signing = told["webhook"].pop("signing")
        assert signing["alg"] == "ed25519"
        assert signing["jwks_url"] == f"http://127.0.0.1:4437{PREFIX}/__ds/jwks.json"
        assert told == {
            "id": "s",
            "subscription_id": "s",
            "type": "webhook",
            "pattern": "events/*",
            "streams": [{"path": "x", "link_type": "explicit", "acked_offset": "-1"}],
            "webhook": {"url": at.url},
            "wake_stream": None,
            "lease_ttl_ms": 30000,
            "created_at": told["created_at"],
            "status": "active",
            "description": "mine",
            "generation": 0,
            "last_error": None,
            "next_attempt_at": None,
            "paused_at": None,
        }
        assert told["created_at"].endswith("Z")


async def test_a_deleted_subscription_is_gone_and_deleting_what_is_not_there_succeeds() -> None:
    async with subscribed() as gateway:
        assert (await gateway.put("s", **PULL))[0] == 201
        assert (await gateway.ask("DELETE", "s"))[0] == 204
        assert (await gateway.ask("DELETE", "s"))[0] == 204
        for method, path in [("GET", "s"), ("POST", "s/streams"), ("POST", "s/claim")]:
            status, told = await gateway.ask(method, path, {"streams": ["a"], "worker": "w"})
            assert (status, told["error"]["code"]) == (404, "SUBSCRIPTION_NOT_FOUND")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="nothing"),
        pytest.param([], id="an-array"),
        pytest.param({"type": "push", "pattern": "a"}, id="another-type"),
        pytest.param({"type": "pull-wake", "wake_stream": "w"}, id="no-streams"),
        pytest.param({**PULL, "streams": "a"}, id="streams-as-a-text"),
        pytest.param({**PULL, "streams": [1]}, id="a-number-as-a-stream"),
        pytest.param({**PULL, "streams": [""]}, id="an-empty-name"),
        pytest.param({**PULL, "streams": ["__ds/x"]}, id="a-reserved-name"),
        pytest.param({**PULL, "streams": ["a/../b"]}, id="dot-segments"),
        pytest.param({**PULL, "streams": ["wakes"]}, id="its-own-wake-stream"),
        pytest.param({**PULL, "pattern": 1}, id="a-number-as-a-pattern"),
        pytest.param({**PULL, "pattern": "a//b"}, id="an-empty-segment"),
        pytest.param({**PULL, "pattern": "a*"}, id="a-star-in-a-segment"),
        pytest.param({**PULL, "pattern": "__ds/**"}, id="a-reserved-pattern"),
        pytest.param({"type": "pull-wake", "pattern": "a"}, id="no-wake-stream"),
        pytest.param({**PULL, "wake_stream": "__ds/x"}, id="a-reserved-wake-stream"),
        pytest.param({"type": "webhook", "pattern": "a"}, id="no-url"),
        pytest.param({"type": "webhook", "pattern": "a", "webhook": "http://a"}, id="url-outside"),
        pytest.param({**PULL, "lease_ttl_ms": 999}, id="a-lease-too-short"),
        pytest.param({**PULL, "lease_ttl_ms": 600_001}, id="a-lease-too-long"),
        pytest.param({**PULL, "lease_ttl_ms": 1000.5}, id="a-fraction-as-a-lease"),
        pytest.param({**PULL, "lease_ttl_ms": True}, id="true-as-a-lease"),
        pytest.param({**PULL, "description": "x" * 1025}, id="a-long-description"),
    ],
)
async def test_a_malformed_configuration_is_refused(document: object) -> None:
    async with subscribed() as gateway:
        status, told = await gateway.ask("PUT", "s", document)
        assert (status, told["error"]["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param(
            {**PULL, "lease_ttl": 5},
            "there is no member lease_ttl; the nearest is lease_ttl_ms",
            id="cut",
        ),
        pytest.param(
            {**PULL, "leaseTtlMs": 5000},
            "there is no member leaseTtlMs; the nearest is lease_ttl_ms",
            id="camel-case",
        ),
        pytest.param(
            {**PULL, "steams": ["a"]},
            "there is no member steams; the nearest is streams",
            id="a-letter-less",
        ),
        pytest.param(
            {"type": "pull-wake", "patern": "a", "wake_stream": "w"},
            "there is no member patern; the nearest is pattern",
            id="instead-of-one-that-is-needed",
        ),
        pytest.param(
            {**PULL, "pattern": f"{PREFIX}/events/*"},
            f"names begin below {PREFIX}: write events/*",
            id="a-path-as-a-pattern",
        ),
        pytest.param(
            {**PULL, "streams": [f"{PREFIX}/a"]},
            f"names begin below {PREFIX}: write a",
            id="a-path-as-a-stream",
        ),
        pytest.param(
            {**PULL, "wake_stream": f"{PREFIX}/wakes"},
            f"names begin below {PREFIX}: write wakes",
            id="a-path-as-a-wake-stream",
        ),
        pytest.param(
            {**PULL, "streams": [f"http://a{PREFIX}/a"]},
            f"http://a{PREFIX}/a is a URL: write the name below {PREFIX}",
            id="a-url-as-a-stream",
        ),
    ],
)
async def test_what_can_only_be_a_mistake_in_a_configuration_is_refused(
    document: object, message: str
) -> None:
    async with subscribed() as gateway:
        status, told = await gateway.ask("PUT", "s", document)
        assert (status, told["error"]["message"]) == (400, message)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"priority": 1, "": 2, "x" * 1000: 3}, id="like-no-known-one"),
        pytest.param({"lease_ttl": 5, "lease_ttl_ms": 5000}, id="beside-the-known-one"),
        pytest.param({f"member-{number}": 1 for number in range(30_000)}, id="very-many"),
        pytest.param({"streams": [f"{PREFIX[1:]}/a"]}, id="a-name-that-begins-as-the-prefix"),
    ],
)
async def test_members_that_a_later_protocol_may_have_are_ignored(
    members: dict[str, object],
) -> None:
    async with subscribed() as gateway:
        assert (await gateway.put("s", **{**PULL, **members}))[0] == 201


async def test_misspelt_members_of_requests_of_workers_are_refused() -> None:
    async with subscribed() as gateway:
        assert (await gateway.put("s", **PULL, streams=["a"]))[0] == 201
        await gateway.create("wakes")
        await gateway.create("a", body=b'{"n":1}')
        _, claim = await gateway.ask("POST", "s/claim", {"worker": "w"})
        wake = {"wake_id": claim["wake_id"], "generation": claim["generation"]}
        for action, document, nearest in [
            ("claim", {"wroker": "w"}, "worker"),
            ("streams", {"stream": ["b"]}, "streams"),
            ("ack", {**wake, "ack": [], "done": True}, "acks"),
            ("ack", {**wake, "wakeId": "w", "dones": True}, "done"),
        ]:
            status, told = await gateway.ask("POST", f"s/{action}", document, claim["token"])
            assert status == 400
            assert told["error"]["message"].endswith(f"; the nearest is {nearest}")


@pytest.mark.parametrize("lease", [1000, 600_000])
async def test_leases_from_a_second_to_ten_minutes_are_taken(lease: int) -> None:
    async with subscribed() as gateway:
        assert (await gateway.put("s", **PULL, lease_ttl_ms=lease))[0] == 201


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut"),
        pytest.param(b"\xff", id="no-utf-8"),
        pytest.param(b"[" * 100_000, id="deeply-nested"),
        pytest.param(b'{"a":"' + b"x" * (1 << 20) + b'"}', id="too-long"),
    ],
)
async def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    async with subscribed(max_append=2 << 20) as gateway:
        target = f"{PREFIX}/__ds/subscriptions/s"
        answer = await gateway.gateway.ask(request("PUT", target, body=body))
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("__ds", id="the-segment-alone"),
        pytest.param("__ds/x", id="another"),
        pytest.param("__ds/subscriptions", id="all-subscriptions"),
        pytest.param("__ds/subscriptions/s/", id="a-slash-at-the-end"),
        pytest.param("__ds/subscriptions/s/x", id="another-action"),
        pytest.param("__ds/subscriptions/s/claim/x", id="below-an-action"),
        pytest.param("__ds/jwks.json/x", id="below-the-keys"),
        pytest.param("__ds/subscriptions/" + "x" * 257, id="a-long-id"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
async def test_every_other_control_path_is_not_found(method: str, path: str) -> None:
    async with subscribed() as gateway:
        assert (await gateway.gateway.ask(request(method, f"{PREFIX}/{path}"))).status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "s", "GET, PUT, DELETE"),
        ("HEAD", "s", "GET, PUT, DELETE"),
        ("GET", "s/streams", "POST"),
        ("PUT", "s/streams/a", "DELETE"),
        ("GET", "s/claim", "POST"),
        ("PUT", "s/ack", "POST"),
        ("DELETE", "s/release", "POST"),
        ("GET", "s/callback", "POST"),
        ("PUT", "../jwks.json", "GET"),
    ],
)
async def test_a_wrong_method_is_refused_with_those_allowed(
    method: str, path: str, allowed: str
) -> None:
    async with subscribed() as gateway:
        target = f"{PREFIX}/__ds/subscriptions/{path}".replace("subscriptions/../", "")
        answer = await gateway.gateway.ask(request(method, target))
        assert (answer.status, answer.get("Allow")) == (405, allowed)


async def test_no_stream_can_be_created_or_forked_below_the_reserved_segment() -> None:
    async with subscribed() as gateway:
        assert (await gateway.create("a")).status == 201
        assert (await gateway.create("__ds/a")).status == 404
        source = f"Stream-Forked-From: {PREFIX}/__ds/subscriptions/s"
        assert (await gateway.create("b", source)).status == 404


async def test_an_id_may_have_encoded_characters_and_its_callbacks_lead_to_it() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("a%2Fb%20c", at, pattern="e/*")
        await gateway.create("e/x", body=b'{"n":1}')
        wake = await at.wake()
        assert wake["subscription_id"] == "a/b c"
        assert wake["callback_url"].endswith("/__ds/subscriptions/a%2Fb%20c/callback")


async def test_a_log_that_stores_no_documents_offers_no_subscriptions() -> None:
    log = MemoryLog()
    log.documents = None  # type: ignore[assignment] # of a log without that ability
    async with serving(log) as gateway:
        for method in ("GET", "PUT", "POST", "DELETE"):
            target = f"{PREFIX}/__ds/subscriptions/s"
            (await gateway.ask(request(method, target))).assert_problem(501, "not offered")
