"""A host of MCP subscribes with a webhook: its receiver is verified, and gets each event signed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from mcp.shared.exceptions import MCPError

from gateway.errors import LogUnavailable
from gateway.features.delivery.documents import MemoryDocuments, documents_in
from gateway.features.questions.contract import AnswerFailure
from gateway.features.questions.subscriptions import SendTestDelivery
from gateway.features.subscriptions.operators import answer_for
from tests.mcp_events.hosts import (
    VERSIONS,
    append,
    close,
    create,
    engine_of,
    guarded,
    host,
    offering,
    subscribing,
    types_file,
    until_quiet,
)
from tests.mcp_events.receivers import OTHER_SECRET, SECRET, hook
from tests.support.serving import PREFIX
from tests.support.tokens_files import token
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mcp_events.hosts import Host
    from tests.mcp_events.receivers import HookReceiver
    from tests.support.serving import Serving


def asked(at: HookReceiver, stream: str | None = "a/x", **more: Any) -> dict[str, Any]:
    """Return the parameters of a subscription."""
    return {
        "name": "stream.appended",
        "arguments": {} if stream is None else {"stream": stream},
        "delivery": {"mode": "webhook", "url": at.url, "secret": SECRET},
        "cursor": None,
        **more,
    }


async def quiet(gateway: Serving) -> None:
    """Wait until no delivery waits or runs."""
    await until_quiet(engine_of(gateway))


def pass_time(gateway: Serving, seconds: float) -> None:
    """Let time pass, and act on the deadlines that are over then."""
    gateway.clock.advance(seconds)
    engine_of(gateway).wakes.timer.run_due()


async def code_of(client: Host, method: str, params: dict[str, Any]) -> tuple[int, Any]:
    """Return code and data of the error that a request gets."""
    with pytest.raises(MCPError) as refused:
        await client.ask(method, **params)
    return refused.value.error.code, refused.value.error.data


@pytest.mark.parametrize("mode", VERSIONS)
async def test_events_of_a_stream_come_signed_and_in_order(mode: str, tmp_path: Path) -> None:
    async with subscribing(tmp_path, mode=mode) as (at, gateway, it):
        (event,) = (await it.ask("events/list"))["events"]
        assert event["delivery"] == ["webhook", "push", "poll"]
        await create(gateway, "a/x", b'{"n":0}')
        made = await it.ask("events/subscribe", **asked(at))
        assert made["id"].startswith("mcp_")
        assert made["refreshBefore"].endswith("Z")
        assert not made["truncated"]
        await append(gateway, "a/x", {"n": 1})
        await append(gateway, "a/x", [{"n": 2}, {"n": 3}])
        await close(gateway, "a/x")
        await at.has(1, 2, 3, "closed")
        assert at.challenges == 1
        for message, headers in zip(at.messages, at.headers, strict=True):
            assert headers["x-mcp-subscription-id"] == made["id"]
            assert headers["webhook-id"] == message["eventId"]
        await quiet(gateway)
        polled = await it.poll("a/x", made["cursor"])
        assert [one["eventId"] for one in polled["events"]] == [
            one["eventId"] for one in at.messages[:3]
        ]
        renewed = await it.ask("events/subscribe", **asked(at, cursor=made["cursor"]))
        assert renewed["id"] == made["id"]
        assert renewed["cursor"] == at.messages[-1]["cursor"]
        assert at.challenges == 1


async def test_events_of_all_streams_that_match_come_also_of_later_ones(tmp_path: Path) -> None:
    file = types_file(tmp_path, '[[events]]\nname = "a"\nstreams = "a/*"\n')
    async with subscribing(tmp_path, "reader", own=file) as (at, gateway, it):
        await create(gateway, "a/old", b'{"n":0}')
        made = await it.ask("events/subscribe", **{**asked(at, None), "name": "a"})
        assert made["cursor"] is None
        await create(gateway, "a/new", b'{"n":1}')
        await at.has(1)
        await create(gateway, "b/new", b'{"n":2}')
        await append(gateway, "a/old", {"n": 3})
        await at.has(1, 3)
        assert {one["data"]["stream"] for one in at.messages} == {"a/old", "a/new"}


async def test_a_failed_event_is_repeated_with_its_id_and_holds_back_what_follows(
    tmp_path: Path,
) -> None:
    async with subscribing(tmp_path, statuses=[500, 200, 302]) as (at, gateway, it):
        await create(gateway, "a/x")
        await it.ask("events/subscribe", **asked(at))
        await append(gateway, "a/x", [{"n": 1}, {"n": 2}])
        await until(lambda: len(at.messages) == 1)
        await quiet(gateway)
        renewed = await it.ask("events/subscribe", **asked(at))
        status = renewed["deliveryStatus"]
        assert (status["active"], status["lastError"]) == (True, "http_5xx")
        assert status["failedSince"].endswith("Z")
        await until(lambda: len(at.messages) == 3)
        await quiet(gateway)
        pass_time(gateway, 2.0)
        await at.has(1, 2)
        first, second = at.messages[0], at.messages[1]
        assert (first["eventId"], first["status"]) == (second["eventId"], 500)
        assert [one["status"] for one in at.messages] == [500, 200, 302, 200]


@pytest.mark.parametrize("status", [410, 413])
async def test_an_event_that_is_refused_for_good_is_left_out(status: int, tmp_path: Path) -> None:
    async with subscribing(tmp_path, statuses=[status]) as (at, gateway, it):
        await create(gateway, "a/x")
        await it.ask("events/subscribe", **asked(at))
        await append(gateway, "a/x", [{"n": 1}, {"n": 2}])
        await at.has(2)


@pytest.mark.parametrize(
    ("echo", "reason"),
    [
        pytest.param(b"", "challenge_failed", id="nothing"),
        pytest.param(b'{"challenge":"other"}', "challenge_failed", id="another"),
        pytest.param(b'{"challenge":1}', "challenge_failed", id="a-number"),
        pytest.param(b"[]", "challenge_failed", id="a-list"),
        pytest.param(b"x" * 100_000, "challenge_failed", id="a-long-body"),
    ],
)
async def test_a_receiver_that_does_not_echo_the_challenge_gets_nothing(
    echo: bytes, reason: str, tmp_path: Path
) -> None:
    async with subscribing(tmp_path, echo=echo) as (at, gateway, it):
        await create(gateway, "a/x")
        assert await code_of(it, "events/subscribe", asked(at)) == (-32015, {"reason": reason})
        await append(gateway, "a/x", {"n": 1})
        await quiet(gateway)
        assert (at.messages, engine_of(gateway).by_id) == ([], {})


async def test_a_receiver_that_cannot_be_reached_is_not_subscribed(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway, host(gateway, token=token("all")) as it:
        async with hook() as at:
            pass
        code, data = await code_of(it, "events/subscribe", asked(at))
        assert (code, data) == (-32015, {"reason": "connection_refused"})


async def test_challenges_to_one_host_are_few(tmp_path: Path) -> None:
    async with subscribing(tmp_path, echo=b"") as (at, gateway, it):
        codes = [(await code_of(it, "events/subscribe", asked(at)))[0] for _ in range(11)]
        assert codes == [-32015] * 10 + [-32013]
        assert at.challenges == 10
        gateway.clock.advance(60.0)
        assert (await code_of(it, "events/subscribe", asked(at)))[0] == -32015


@pytest.mark.parametrize(
    ("delivery", "code"),
    [
        pytest.param(None, -32602, id="none"),
        pytest.param({}, -32602, id="no-url"),
        pytest.param({"url": 7}, -32602, id="a-url-that-is-no-text"),
        pytest.param({"url": "http://example.com/hook"}, -32602, id="plain-http"),
        pytest.param({"url": "https://10.0.0.1/hook"}, -32602, id="a-private-address"),
        pytest.param({"url": "https://169.254.169.254/"}, -32602, id="the-metadata-address"),
        pytest.param({"url": "https://[::ffff:10.0.0.1]/"}, -32602, id="a-mapped-address"),
        pytest.param({"url": "https://u:p@example.com/"}, -32602, id="user-info"),
        pytest.param({"url": "https://example.com:22/"}, -32602, id="an-odd-port"),
        pytest.param({"url": "https://example.com/" + "x" * 2_048}, -32602, id="a-long-url"),
        pytest.param({"mode": "push"}, -32014, id="another-mode"),
        pytest.param({"mode": {}}, -32014, id="a-mode-that-is-no-text"),
        pytest.param({"secret": None}, -32602, id="no-secret"),
        pytest.param({"secret": "whsec_"}, -32602, id="an-empty-secret"),
        pytest.param({"secret": "k" * 40}, -32602, id="a-secret-without-its-beginning"),
        pytest.param({"secret": "whsec_" + "A" * 28}, -32602, id="a-short-secret"),
        pytest.param({"secret": "whsec_" + "A" * 88}, -32602, id="a-long-secret"),
        pytest.param({"secret": "whsec_" + "é" * 44}, -32602, id="a-secret-of-other-letters"),
    ],
)
async def test_receivers_and_secrets_that_are_not_valid_are_refused(
    delivery: dict[str, Any] | None, code: int, tmp_path: Path
) -> None:
    async with subscribing(tmp_path) as (at, _gateway, it):
        usual = asked(at)["delivery"]
        changed = None if delivery is None else {**usual, **delivery} if delivery else {}
        refused = await code_of(it, "events/subscribe", asked(at, delivery=changed))
        assert refused[0] == code
        assert at.challenges == 0


async def test_webhooks_need_a_credential_that_may_read_the_streams(tmp_path: Path) -> None:
    async with subscribing(tmp_path, "reader") as (at, gateway, it):
        assert (await code_of(it, "events/subscribe", asked(at, "b")))[0] == -32012
        assert (await code_of(it, "events/subscribe", asked(at, None)))[0] == -32012
        assert (await it.ask("events/subscribe", **asked(at)))["id"]
    async with hook() as at, offering() as gateway, host(gateway) as it:
        for method in ("events/subscribe", "events/unsubscribe"):
            with pytest.raises(MCPError, match="on a route with access control"):
                await it.ask(method, **asked(at))


async def test_subscriptions_of_two_principals_are_two_and_each_is_challenged(
    tmp_path: Path,
) -> None:
    async with hook() as at, guarded(tmp_path) as gateway:
        await create(gateway, "a/x")
        ids = []
        for name in ("all", "other"):
            async with host(gateway, token=token(name)) as it:
                ids.append((await it.ask("events/subscribe", **asked(at)))["id"])
        assert len(set(ids)) == 2
        assert at.challenges == 2
        async with host(gateway, token=token("other")) as it:
            assert await it.ask("events/unsubscribe", **asked(at))
            again = await code_of(it, "events/unsubscribe", asked(at))
            assert again == (-32011, {"kind": "subscription"})
        await append(gateway, "a/x", {"n": 1})
        await at.has(1)
        assert at.headers[0]["x-mcp-subscription-id"] == ids[0]


async def test_a_subscription_whose_end_cannot_be_stored_counts_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise LogUnavailable("the disk is full")

    async with subscribing(tmp_path) as (at, _gateway, it):
        await it.ask("events/subscribe", **asked(at))
        with monkeypatch.context() as outage:
            outage.setattr(MemoryDocuments, "write", refuse)
            for _ in range(2):
                assert (await code_of(it, "events/unsubscribe", asked(at)))[0] == -32603
        assert (await code_of(it, "events/unsubscribe", asked(at)))[0] == -32011


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        pytest.param({}, 7 * 86_400, id="none"),
        pytest.param({"ttlMs": 3_600_000}, 3_600, id="an-hour"),
        pytest.param({"ttlMs": 1}, 60, id="too-short"),
        pytest.param({"ttlMs": -5}, 60, id="below-0"),
        pytest.param({"ttlMs": 10**15}, 30 * 86_400, id="too-long"),
        pytest.param({"ttlMs": 10**400}, 30 * 86_400, id="no-float"),
    ],
)
async def test_a_subscription_ends_when_it_is_not_renewed(
    ttl: dict[str, Any], seconds: int, tmp_path: Path
) -> None:
    async with subscribing(tmp_path) as (at, gateway, it):
        await create(gateway, "a/x")
        made = await it.ask("events/subscribe", **asked(at, **ttl))
        pass_time(gateway, seconds - 1)
        await append(gateway, "a/x", {"n": 1})
        await at.has(1)
        await quiet(gateway)
        pass_time(gateway, 2)
        assert engine_of(gateway).by_id == {}
        await append(gateway, "a/x", {"n": 2})
        again = await it.ask("events/subscribe", **asked(at, cursor=at.messages[-1]["cursor"]))
        assert (again["id"], again["truncated"]) == (made["id"], False)
        assert at.challenges == 2
        await at.has(1, 2)


async def test_a_subscription_is_not_granted_beyond_its_credential(tmp_path: Path) -> None:
    async with subscribing(tmp_path, "brief") as (at, _gateway, it):
        made = await it.ask("events/subscribe", **asked(at))
        assert made["refreshBefore"] == "2027-01-15T08:01:00.000Z"
        refused = await code_of(it, "events/subscribe", asked(at, ttlMs="long"))
        assert refused[0] == -32602


async def test_a_cursor_begins_a_new_subscription_within_an_append(tmp_path: Path) -> None:
    async with subscribing(tmp_path) as (at, gateway, it):
        await create(gateway, "a/x")
        first = (await it.poll("a/x"))["cursor"]
        await append(gateway, "a/x", [{"n": n} for n in range(4)])
        middle = (await it.poll("a/x", first, maxEvents=2))["cursor"]
        made = await it.ask("events/subscribe", **asked(at, cursor=middle))
        assert made["cursor"] == middle
        await at.has(2, 3)


async def test_a_new_secret_signs_at_once_and_the_former_one_for_an_hour(tmp_path: Path) -> None:
    async with subscribing(tmp_path) as (at, gateway, it):
        await create(gateway, "a/x")
        await it.ask("events/subscribe", **asked(at))
        changed = {"mode": "webhook", "url": at.url, "secret": OTHER_SECRET}
        await it.ask("events/subscribe", **asked(at, delivery=changed))
        await append(gateway, "a/x", {"n": 1})
        await at.has(1)  # verified with the former secret
        at.secret = OTHER_SECRET
        await append(gateway, "a/x", {"n": 2})
        await at.has(1, 2)
        assert len(at.headers[-1]["webhook-signature"].split()) == 2
        await quiet(gateway)
        pass_time(gateway, 3_600)
        await append(gateway, "a/x", {"n": 3})
        await at.has(1, 2, 3)
        assert len(at.headers[-1]["webhook-signature"].split()) == 1


async def test_a_trimmed_stream_is_told_as_a_gap(tmp_path: Path) -> None:
    async with subscribing(tmp_path, own={"retention_messages": 2}, statuses=[500]) as (
        at,
        gateway,
        it,
    ):
        await create(gateway, "a/x")
        await it.ask("events/subscribe", **asked(at))
        await append(gateway, "a/x", {"n": 0})
        await until(lambda: len(at.messages) == 1)
        await quiet(gateway)
        for n in range(1, 6):
            await append(gateway, "a/x", {"n": n})
        pass_time(gateway, 2.0)
        await until(lambda: len(at.accepted) >= 2)
        await quiet(gateway)
        gap = at.messages[1]
        assert gap["type"] == "gap"
        assert at.headers[1]["webhook-id"].startswith("msg_gap_")
        assert at.accepted[-1] == 5
        assert 0 not in at.accepted


async def test_secrets_are_in_no_listing_log_or_stored_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with subscribing(tmp_path, statuses=[500] * 9) as (at, gateway, it):
        await create(gateway, "a/x")
        made = await it.ask("events/subscribe", **asked(at))
        await append(gateway, "a/x", {"n": 1})
        await until(lambda: bool(at.messages))
        await quiet(gateway)
        line = f"Authorization: Bearer {token('all')}"
        target = f"GET /v1/stream/__ds/subscriptions/{made['id']} HTTP/1.1"
        shown = await gateway.ask(f"{target}\r\nHost: headgate.test\r\n{line}\r\n\r\n".encode())
        told = json.loads(shown.body)
        assert (told["type"], told["webhook"]["signing"]) == ("mcp-events", None)
        metrics = "".join(str(sample) for sample in gateway.route.samples())
        documents = documents_in(gateway.log)
        assert documents is not None
        rows = b"".join(body for _, body in await documents.read("", 1_000))
        output = "".join(capsys.readouterr())
        bare = SECRET.removeprefix("whsec_")
        for text in (shown.body.decode(), metrics, repr(rows), output, repr(made)):
            assert bare not in text
            assert "k" * 32 not in text


async def test_the_receiver_of_a_host_cannot_be_tested_by_operators(tmp_path: Path) -> None:
    async with subscribing(tmp_path) as (at, gateway, it):
        made = await it.ask("events/subscribe", **asked(at))
        question = SendTestDelivery(PREFIX, made["id"])
        refused = await answer_for(engine_of(gateway), question)
        assert isinstance(refused, AnswerFailure)
        assert (refused.status, at.messages) == (400, [])


async def test_ids_of_hosts_are_not_for_other_subscriptions(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        body = json.dumps({"type": "pull-wake", "pattern": "a/*", "wake_stream": "w"}).encode()
        line = f"Authorization: Bearer {token('all')}"
        head = f"PUT /v1/stream/__ds/subscriptions/mcp_x HTTP/1.1\r\nHost: h\r\n{line}\r\n"
        answer = await gateway.ask(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert answer.status == 400
        other = json.dumps({"type": "mcp-events", "pattern": "a/*"}).encode()
        head = head.replace("mcp_x", "x")
        answer = await gateway.ask(f"{head}Content-Length: {len(other)}\r\n\r\n".encode() + other)
        assert answer.status == 400
