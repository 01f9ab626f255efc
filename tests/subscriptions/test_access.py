"""Who may subscribe: what a subscription needs is judged when it is made, and before each wake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.access.bans import Ban
from headgate_gateway.features.questions.readers import ApplyBans
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.receivers import Subscribed, receiver, subscribed
from tests.support.serving import PREFIX, get, post, put, request
from tests.support.tokens_files import token, write_tokens
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

OWN = {"auth": ("tokens",)}
GRANTS = {
    "reader": [("a/*", "read")],
    "worker": [("a/*", "read"), ("wakes", "read append")],
    "other": [("a/*", "read"), ("wakes", "read append")],
    "one": [("a/x", "read"), ("wakes", "append")],
    "all": [("*", "read append create close delete")],
    "brief": [("*", "read append create close delete")],
}


def tokens_file(folder: Path, *, without: str = "", prefix: str = PREFIX) -> str:
    """Write who may do what; `without` a name it is as if it was never there."""
    return write_tokens(folder, GRANTS, without=without, prefix=prefix)


async def ask(
    gateway: Subscribed, name: str | None, method: str, path: str, document: object = None
) -> tuple[int, Any]:
    """Return status and body of a request by somebody."""
    return await gateway.ask(method, path, document, None if name is None else token(name))


NEEDED = (
    "needs read on all that the pattern can match and on each of streams, and append on the wake "
    "stream"
)
PULL = {"type": "pull-wake", "pattern": "a/*", "wake_stream": "wakes"}


@pytest.mark.parametrize(
    ("name", "document", "status"),
    [
        pytest.param(None, PULL, 401, id="no-token"),
        pytest.param("nobody", PULL, 401, id="an-unknown-token"),
        pytest.param("reader", PULL, 403, id="no-append-to-the-wake-stream"),
        pytest.param("one", PULL, 403, id="read-of-one-match-only"),
        pytest.param("worker", PULL, 201, id="what-it-needs"),
        pytest.param("worker", {**PULL, "pattern": "a/**"}, 403, id="the-folder-itself-matches"),
        pytest.param("worker", {**PULL, "pattern": "**"}, 403, id="everything"),
        pytest.param("worker", {**PULL, "pattern": "*/x"}, 403, id="a-wildcard-first"),
        pytest.param("worker", {**PULL, "streams": ["b"]}, 403, id="a-name-elsewhere"),
        pytest.param("all", {**PULL, "pattern": "**"}, 201, id="all-by-whoever-may-read-all"),
    ],
)
async def test_to_subscribe_needs_read_of_all_that_matches_and_append_to_the_wake_stream(
    name: str | None, document: dict[str, Any], status: int, tmp_path: Path
) -> None:
    async with subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway:
        assert (await ask(gateway, name, "PUT", "s", document))[0] == status


async def test_the_refusal_of_a_subscription_says_what_it_needs_and_where(tmp_path: Path) -> None:
    async with subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway:
        _, told = await ask(gateway, "reader", "PUT", "s", PULL)
        assert told["detail"] == (
            f"the token does not permit this here: it needs append; to subscribe {NEEDED}"
        )


async def test_a_pull_wake_subscription_is_seen_by_whoever_may_claim_its_wakes(
    tmp_path: Path,
) -> None:
    hook = {"type": "webhook", "pattern": "a/*", "webhook": {"url": "http://127.0.0.1:9/"}}
    async with subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway:
        assert (await ask(gateway, "worker", "PUT", "s", PULL))[0] == 201
        assert (await ask(gateway, "worker", "PUT", "h", hook))[0] == 201
        status, told = await ask(gateway, "other", "GET", "s")
        assert (status, told["wake_stream"]) == (200, "wakes")
        for name, path in (("reader", "s"), ("one", "s"), ("other", "h"), ("all", "h")):
            status, told = await ask(gateway, name, "GET", path)
            assert (status, told["detail"]) == (
                403,
                f"the subscription is another client's; a worker that claims {NEEDED}",
            )


async def test_a_subscription_is_changed_by_its_owner_alone(tmp_path: Path) -> None:
    async with subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway:
        assert (await ask(gateway, "worker", "PUT", "s", PULL))[0] == 201
        status, told = await ask(gateway, None, "GET", "s")
        assert (status, told["detail"].endswith(": send Authorization: Bearer TOKEN")) == (
            401,
            True,
        )
        requests: list[tuple[str, str, object]] = [
            ("PUT", "s", PULL),
            ("POST", "s/streams", {"streams": ["a/x"]}),
            ("DELETE", "s/streams/a/x", None),
            ("DELETE", "s", None),
        ]
        for method, path, document in requests:
            assert (await ask(gateway, "other", method, path, document))[0] == 403
            assert (await ask(gateway, None, method, path, document))[0] == 401
        assert (await ask(gateway, "worker", "POST", "s/streams", {"streams": ["b"]}))[0] == 403
        for method, path, document in requests:
            assert (await ask(gateway, "worker", method, path, document))[0] in {200, 204}


HOOK = {"type": "webhook", "pattern": "a/*", "webhook": {"url": "http://127.0.0.1:9/"}}
ACKNOWLEDGEMENT = {"wake_id": "w", "generation": 1, "done": True}
CONCEALED: list[tuple[str, str, object]] = [
    ("GET", "", None),
    ("POST", "/streams", {"streams": ["a/x"]}),
    ("POST", "/streams", "no object"),
    ("DELETE", "/streams/a/x", None),
    ("POST", "/claim", {"worker": "w"}),
    ("POST", "/claim", {"worker": 1}),
    *(("POST", f"/{action}", ACKNOWLEDGEMENT) for action in ("ack", "release", "callback")),
    ("DELETE", "", None),
]


@pytest.mark.parametrize("document", [PULL, HOOK], ids=["pull-wake", "webhook"])
@pytest.mark.parametrize("caller", [None, "nobody", "reader", "one", "worker"])
async def test_where_a_route_conceals_anothers_subscription_looks_like_a_free_id(
    caller: str | None, document: dict[str, Any], tmp_path: Path
) -> None:
    own = {**OWN, "conceal": "on"}
    async with subscribed(own=own, tokens_file=tokens_file(tmp_path)) as gateway:
        assert (await ask(gateway, "all", "PUT", "taken", document))[0] == 201
        may_claim = caller == "worker" and document is PULL
        for method, rest, sent in CONCEALED:
            if may_claim and rest in {"", "/claim"} and method != "DELETE":
                continue  # workers see what they may claim
            found = await ask(gateway, caller, method, f"taken{rest}", sent)
            assert found == await ask(gateway, caller, method, f"free{rest}", sent), (method, rest)
            assert found[0] in {204, 404}, (method, rest)
        assert "taken" in gateway.engine.by_id
        assert (await ask(gateway, "all", "GET", "taken"))[0] == 200
        assert (await ask(gateway, "all", "DELETE", "taken"))[0] == 204
        assert "taken" not in gateway.engine.by_id


async def test_where_a_route_conceals_an_id_in_use_is_a_conflict_whoever_uses_it(
    tmp_path: Path,
) -> None:
    own = {**OWN, "conceal": "on"}
    async with subscribed(own=own, tokens_file=tokens_file(tmp_path)) as gateway:
        assert (await ask(gateway, "all", "PUT", "taken", PULL))[0] == 201
        assert (await ask(gateway, "worker", "PUT", "own", PULL))[0] == 201
        of_others = await ask(gateway, "worker", "PUT", "taken", PULL)
        other_contents = await ask(gateway, "worker", "PUT", "own", HOOK)
        assert of_others == other_contents
        assert of_others[0] == 409
        for caller in (None, "reader", "one"):
            free = await ask(gateway, caller, "PUT", "free", PULL)
            assert free == await ask(gateway, caller, "PUT", "taken", PULL)
            assert free[0] == 404
        assert (await ask(gateway, "worker", "POST", "taken/claim", {"worker": "w"}))[0] == 409


async def test_a_claim_needs_the_same_rights_and_its_token_is_enough_for_the_rest(
    tmp_path: Path,
) -> None:
    async with subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway:
        await ask(gateway, "worker", "PUT", "s", PULL)
        line = f"Authorization: Bearer {token('all')}"
        for name in ("wakes", "a/x"):
            target = f"{PREFIX}/{name}"
            json = {"content_type": "application/json"}
            await gateway.gateway.ask(put(target, line, **json))  # type: ignore[arg-type]
        await gateway.gateway.ask(
            post(f"{PREFIX}/a/x", b"{}", line, content_type="application/json")
        )
        for worker, status in [(None, 401), ("reader", 403), ("one", 403)]:
            found, told = await ask(gateway, worker, "POST", "s/claim", {"worker": "w"})
            assert found == status
            assert worker is None or told["detail"].endswith(f"; to claim {NEEDED}")
        status, claimed = await ask(gateway, "other", "POST", "s/claim", {"worker": "w"})
        assert status == 200
        document = {"wake_id": claimed["wake_id"], "generation": claimed["generation"]}
        for sent, status in [(token("worker"), 401), (None, 401), (claimed["token"], 204)]:
            assert (await gateway.ask("POST", "s/release", document, sent))[0] == status


async def test_the_public_keys_need_no_credential(tmp_path: Path) -> None:
    async with subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway:
        assert (await gateway.gateway.ask(get(f"{PREFIX}/__ds/jwks.json"))).status == 200


async def created(gateway: Subscribed, owner: str, url: str) -> None:
    """Create a webhook subscription, and a stream that wakes it."""
    document = {"type": "webhook", "pattern": "a/*", "webhook": {"url": url}}
    assert (await ask(gateway, owner, "PUT", "s", document))[0] in {200, 201}


async def appended(gateway: Subscribed, name: str) -> None:
    """Create a stream with content."""
    line = f"Authorization: Bearer {token('all')}"
    data = put(f"{PREFIX}/{name}", line, body=b"{}", content_type="application/json")
    assert (await gateway.gateway.ask(data)).status == 201


async def test_a_credential_that_expires_stops_wakes_until_it_is_confirmed(tmp_path: Path) -> None:
    done = {"done": True}
    async with (
        subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway,
        receiver(answer=done) as at,
    ):
        await created(gateway, "brief", at.url)
        await appended(gateway, "a/1")
        await at.wake()
        await gateway.quiet()
        gateway.pass_time(61.0)
        await appended(gateway, "a/2")
        await gateway.quiet()
        assert len(at.wakes) == 1
        subscription = gateway.engine.by_id["s"]
        assert "credential" in (subscription.delivery.last_error or "")
        assert (await ask(gateway, "brief", "GET", "s"))[0] == 401


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
async def test_a_credential_that_is_revoked_stops_wakes(restarts: bool, tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log")
    tokens = tokens_file(tmp_path)
    async with receiver(answer={"done": True}) as at:
        async with subscribed(log, own=OWN, tokens_file=tokens) as gateway:
            await created(gateway, "worker", at.url)
            await appended(gateway, "a/1")
            await at.wake()
            await gateway.quiet()
            if not restarts:
                principal = gateway.engine.by_id["s"].owner
                assert principal is not None
                gateway.gateway.authorities.start()
                tokens_file(tmp_path, without="worker")
                await until(lambda: principal.until == 0.0)
                await appended(gateway, "a/2")
                await gateway.quiet()
                await gateway.gateway.authorities.stop()
        if restarts:
            tokens_file(tmp_path, without="worker")
            again = SqliteLog(tmp_path / "log")
            async with subscribed(again, own=OWN, tokens_file=tokens) as gateway:
                await appended(gateway, "a/2")
                await gateway.quiet()
        assert len(at.wakes) == 1
        assert "credential" in (gateway.engine.by_id["s"].delivery.last_error or "")


async def test_an_owner_is_still_permitted_after_a_restart(tmp_path: Path) -> None:
    tokens = tokens_file(tmp_path)
    async with receiver(answer={"done": True}) as at:
        async with subscribed(SqliteLog(tmp_path / "log"), own=OWN, tokens_file=tokens) as gateway:
            await created(gateway, "worker", at.url)
        async with subscribed(SqliteLog(tmp_path / "log"), own=OWN, tokens_file=tokens) as gateway:
            await appended(gateway, "a/1")
            await at.wake()
            assert (await ask(gateway, "worker", "GET", "s"))[0] == 200
            assert (await ask(gateway, "other", "GET", "s"))[0] == 403


async def test_the_subscriptions_of_each_client_are_limited_by_themselves(tmp_path: Path) -> None:
    async with subscribed(own=OWN, tokens_file=tokens_file(tmp_path)) as gateway:
        gateway.engine.renew(gateway.engine.rules._replace(max_per_client=1))
        expected = [
            *[
                ("worker", "PUT", "s", 201),
                ("worker", "PUT", "s", 200),
                ("worker", "PUT", "t", 429),
            ],
            *[
                ("other", "PUT", "t", 201),
                ("other", "PUT", "u", 429),
                ("worker", "DELETE", "s", 204),
            ],
            *[("worker", "PUT", "u", 201), ("worker", "PUT", "s", 429)],
        ]
        for name, method, path, status in expected:
            document = PULL if method == "PUT" else None
            assert (await ask(gateway, name, method, path, document))[0] == status, (name, path)


ON_S = {"name": "stream.appended", "arguments": {"stream": "s"}}
CONTROL = {
    "subscription": ("PUT", "__ds/subscriptions/w", PULL),
    "mcp": ("POST", "mcp", {"jsonrpc": "2.0", "id": 1, "method": "events/stream", "params": ON_S}),
}


@pytest.mark.parametrize("body_comes", ["after the request", "after the ban"])
@pytest.mark.parametrize("made", CONTROL)
async def test_a_banned_address_makes_no_subscription_on_an_open_route(
    made: str, body_comes: str
) -> None:
    method, name, document = CONTROL[made]
    fields = "Content-Type: application/json"
    sent = request(method, f"{PREFIX}/{name}", fields, body=json.dumps(document).encode())
    async with subscribed(own={"mcp_events": True}) as gateway:
        await gateway.gateway.ask(put("s"))
        client = await gateway.gateway.connect()
        if body_comes == "after the ban":
            client.send(sent[:-1])
            await until(lambda: gateway.gateway.limits.receiving_bytes > 0)
            sent = sent[-1:]
        now = gateway.gateway.clock()
        ban = Ban(kind="address", value="127.0.0.1", until=now + 60, at=now)
        await gateway.gateway.inspector.answer(ApplyBans((ban,)))
        client.send(sent)
        assert (await client.head()).status == 403
