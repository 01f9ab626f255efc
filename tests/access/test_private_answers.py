"""Answers of a private route are for the browser of who asked; those of others stay as they were.

Also: no token in what the gateway writes of its requests, or keeps of them.
"""

from __future__ import annotations

import logging
from itertools import product
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.metrics import snapshot
from tests.support.guarded_gateway import CANARY, ROUTES, bearer, guarded, reach_tail, token
from tests.support.log_lines import capture_logs
from tests.support.serving import PREFIX, get, post, put, request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.http1 import Answer

OF_SHARED_CACHES = {"cdn-cache-control", "surrogate-control", "surrogate-key", "cache-tag", "xkey"}
LIFTS_THE_BAN = ("public", "s-maxage", "must-revalidate")


def is_for_its_reader(answer: Answer) -> bool:
    said = answer.get("Cache-Control") or ""
    forbidden = any(word in said for word in LIFTS_THE_BAN)
    is_kept_from_all = "private" in said or "no-store" in said
    return is_kept_from_all and not forbidden and not OF_SHARED_CACHES & answer.headers.keys()


async def test_no_private_response_may_be_stored_by_a_shared_cache(tmp_path: Path) -> None:
    """Chunks, tails, polls, events, 304, what was written and what was refused."""
    chunk = b"x" * 100_000
    async with guarded(tmp_path, long_poll_timeout=0.1) as gateway:
        name = f"{PREFIX}/a/long"
        seen = [await gateway.ask(put(name, bearer("all"), body=b"begin"))]
        for _ in range(12):
            seen.append(await gateway.ask(post(name, chunk, bearer("all"))))
        whole = await gateway.ask(get(f"{name}?offset=-1", bearer("ann")))
        fixed_at = f"{name}?offset={whole.next_offset}"
        second = get(fixed_at, bearer("ann"))
        fixed = await gateway.ask(second)
        assert "max-age" in (fixed.get("Cache-Control") or ""), "no answer that stays as it is"
        assert fixed.get("Vary") == "Authorization, Cookie"
        tail = await reach_tail(gateway, f"{PREFIX}/a/s", "ann")
        polled = f"{PREFIX}/a/s?offset={tail}&live=long-poll"
        seen += [
            whole,
            fixed,
            await gateway.ask(second),  # out of the cache
            await gateway.ask(get(f"{PREFIX}/a/s?offset=-1", bearer("ann"))),
            await gateway.ask(get(f"{PREFIX}/a/s?offset=now", bearer("ann"))),
            await gateway.ask(get(f"{PREFIX}/a/s?offset=-1&live=long-poll", bearer("ann"))),
            await gateway.ask(get(polled, bearer("ann"))),
            await gateway.ask(get(polled, bearer("ann"), "X-Request-Id:r")),
            await gateway.ask(request("HEAD", f"{PREFIX}/a/s", bearer("ann"))),
            await gateway.ask(get(f"{PREFIX}/a/s?offset=-1", bearer("ben"))),
            await gateway.ask(get(f"{PREFIX}/a/s?offset=-1")),
            await gateway.ask(get(f"{PREFIX}/a/none?offset=-1", bearer("ann"))),
            await gateway.ask(get(fixed_at, bearer("ann"), f"If-None-Match: {fixed.get('ETag')}")),
        ]
        assert [answer.status for answer in seen[-13:]] == [
            *(200, 200, 200, 200, 200, 200, 204, 204, 200, 403, 401, 404, 304)
        ]
        client = await gateway.connect()
        await client.send_all(get(f"{PREFIX}/a/s?offset=-1&live=sse", bearer("ann")))
        seen.append(await client.head())
        for answer in seen:
            assert is_for_its_reader(answer), answer
            assert answer.get("Referrer-Policy") == "no-referrer", answer


@pytest.mark.parametrize(("origins", "more"), [(("*",), ""), (("https://a.example",), ", Origin")])
async def test_a_private_response_names_in_one_line_by_what_it_varies(
    origins: tuple[str, ...], more: str, tmp_path: Path
) -> None:
    async with guarded(tmp_path, cors_origins=origins) as gateway:
        name = f"{PREFIX}/a/long"
        await gateway.ask(put(name, bearer("all"), body=b"x"))
        await gateway.ask(post(name, b"x" * 300_000, bearer("all")))
        first = await gateway.ask(get(f"{name}?offset=-1", bearer("ann")))
        await gateway.ask(post(name, b"x" * 300_000, bearer("all"), "Stream-Closed: true"))
        before, target = gateway.fast.answered, f"{name}?offset={first.next_offset}"
        seen = [await gateway.ask(get(target, bearer("ann"))) for _ in range(3)]
        for line in (f"If-None-Match: {seen[0].get('ETag')}", "X-Request-Id: a"):
            seen.append(await gateway.ask(get(target, bearer("ann"), line)))
        assert gateway.fast.answered > before
        for answer in seen:
            varies = [value for field, value in answer.fields if field == "vary"]
            assert varies == [f"Authorization, Cookie{more}"], answer
        view = f"{name}?view=sse&offset={first.next_offset}"
        viewed = await gateway.ask(get(view, bearer("ann")))
        varies = [value for field, value in viewed.fields if field == "vary"]
        assert varies == [f"Authorization, Cookie, Last-Event-ID{more}"]


@pytest.mark.parametrize("settings", [{"anonymous": ["read"]}, {"visibility": "public"}], ids=str)
async def test_responses_of_a_public_route_may_be_stored_by_every_cache(
    settings: dict[str, object], tmp_path: Path
) -> None:
    async with guarded(tmp_path, settings) as gateway:
        answer = await gateway.ask(get(f"{PREFIX}/a/s?offset=-1", bearer("ann")))
        assert "public" in (answer.get("CDN-Cache-Control") or ""), answer


@pytest.mark.parametrize("origins", [("*",), ("https://a.example",)])
async def test_cors_allows_credentials_of_listed_origins(
    origins: tuple[str, ...], tmp_path: Path
) -> None:
    async with guarded(tmp_path, cors_origins=origins) as gateway:
        for page in ("https://a.example", "https://b.example"):
            wire = get(f"{PREFIX}/a/s?offset=-1", f"Origin: {page}", bearer("ann"))
            allowed = (await gateway.ask(wire)).get("Access-Control-Allow-Credentials")
            assert allowed == ("true" if page in origins else None)


@pytest.mark.parametrize("prefix", ROUTES)
async def test_no_token_is_in_logs_snapshots_or_cache_keys(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "headgate")
    with capture_logs() as lines:
        await _use_tokens(prefix, tmp_path)
    assert not [line for line in lines if CANARY in repr(line)]
    told = [line for line in lines if line["event"] == "request"]
    assert {(line.get("principal"), line.get("refused")) for line in told} == {
        ("ann", None),
        ("all", None),
        (None, "unauthenticated: the token has expired"),
        (None, "unauthenticated: the token is unknown"),
        ("ben", "forbidden: the token does not permit this here: it needs read"),
    }


async def _use_tokens(prefix: str, tmp_path: Path) -> None:
    async with guarded(tmp_path, log_requests="info") as gateway:
        target = f"{prefix}/a/s?offset=-1"
        presented = {
            who: (
                get(target, bearer(who)),
                get(f"{target}&token={token(who)}"),
                get(target, f"Cookie: __Secure-headgate={token(who)}"),
            )
            for who in ("ann", "ben", "gone", "nobody")
        }
        statuses = {"ann": 200, "ben": 403, "gone": 401, "nobody": 401}
        for (who, wires), _ in product(presented.items(), range(6)):
            for wire in wires:
                answer = await gateway.ask(wire)
                assert answer.status == statuses[who]
                assert CANARY.encode() not in answer.wire
        assert CANARY not in repr(snapshot(gateway.services, gateway.routes))
        kept = [*gateway.store._new, *gateway.store._used, *gateway.fast.heads.fresh]
        assert kept
        assert CANARY not in repr(kept)
        found = [get.headers for get in gateway.fast.heads.fresh.values()]
        assert CANARY not in repr(found)
        decided = gateway.route if prefix == PREFIX else gateway.edge
        counted = [decided.traffic.decision_count(decision) for decision in range(3)]
        assert counted[1:] == [36, 18]
