"""What a ResumableStreams is made of, and the errors for anything else."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import redis as redis_for_threads
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from headgate import Conflict, Unavailable
from headgate.resumable import ResumableStreams, production
from headgate.resumable.messages import sentinel
from tests.client.resumable.doubles import (
    MemoryBroker,
    RenewingBroker,
    Tap,
    chunks,
    state_is,
    whole,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "redis://:hunter2@127.0.0.1:1"
SENTINEL = Sentinel([("127.0.0.1", 1)])  # type: ignore[no-untyped-call]


class NoMethods:
    pass


BAD: dict[str, tuple[Callable[[], dict[str, Any]], type[Exception], str]] = {
    "a URL and a publisher": (
        lambda: {"redis": URL, "publisher": MemoryBroker()},
        TypeError,
        "a ResumableStreams takes a Redis, or a publisher with a subscriber, and not both",
    ),
    "a publisher alone": (
        lambda: {"publisher": MemoryBroker()},
        TypeError,
        "a publisher and a subscriber come together: add subscriber=",
    ),
    "a subscriber alone": (
        lambda: {"subscriber": MemoryBroker()},
        TypeError,
        "a publisher and a subscriber come together: add publisher=",
    ),
    "a publisher without its methods": (
        lambda: {"publisher": NoMethods(), "subscriber": MemoryBroker()},
        TypeError,
        "a publisher has the methods connect, publish, set, get, incr, and a NoMethods has no "
        "connect, publish, set, get, incr; a client of redis-py is given alone: "
        "ResumableStreams(client)",
    ),
    "a client as subscriber": (
        lambda: {"publisher": MemoryBroker(), "subscriber": Redis()},
        TypeError,
        "a subscriber has the methods connect, subscribe, unsubscribe, and a Redis has no connect, "
        "subscribe, unsubscribe; a client of redis-py is given alone: ResumableStreams(client)",
    ),
    "a class as publisher": (
        lambda: {"publisher": MemoryBroker, "subscriber": MemoryBroker()},
        TypeError,
        "a publisher is an object: make one of the class MemoryBroker",
    ),
    "a pipeline": (
        lambda: {"redis": Redis().pipeline()},
        TypeError,
        "a pipeline collects commands: give the client that has made it",
    ),
    "a pipeline of a cluster": (
        lambda: {"redis": RedisCluster(host="127.0.0.1").pipeline()},
        TypeError,
        "a pipeline collects commands: give the client that has made it",
    ),
    "a lifetime without end": (
        lambda: {"redis": URL, "sentinel_ttl": float("inf")},
        ValueError,
        "sentinel_ttl is at most 3,153,600,000 s, 100 years, not inf",
    ),
    "a text in place of error_text": (
        lambda: {"redis": URL, "error_text": "it failed"},
        TypeError,
        "error_text is a function without async, which makes a str of an exception",
    ),
    "an async error_text": (
        lambda: {"redis": URL, "error_text": asyncio.sleep},
        TypeError,
        "error_text is a function without async, which makes a str of an exception",
    ),
    "a number": (
        lambda: {"redis": 6379},
        TypeError,
        "a ResumableStreams takes the URL of a Redis or a client of redis.asyncio, not int",
    ),
    "a URL of bytes": (
        lambda: {"redis": URL.encode()},
        TypeError,
        "a ResumableStreams takes the URL of a Redis or a client of redis.asyncio, not bytes",
    ),
    "a client for threads": (
        lambda: {"redis": redis_for_threads.Redis()},
        TypeError,
        "this Redis is redis-py's for threads: give one of redis.asyncio",
    ),
    "the sentinels": (
        lambda: {"redis": SENTINEL},
        TypeError,
        "give the client that `master_for` of this Sentinel returns",
    ),
    "a client of a replica": (
        lambda: {"redis": SENTINEL.slave_for("headgate")},
        TypeError,
        "a replica takes no writes: give the client that `master_for` returns",
    ),
    "a proxy over HTTP": (
        lambda: {"redis": "https://hunter2.example"},
        ValueError,
        "the URL of a Redis must be a redis:// or rediss:// URL: HTTP has no pub/sub",
    ),
    "a password that is not encoded": (
        lambda: {"redis": "redis://:hun/ter2@h"},
        ValueError,
        "the URL of a Redis must have the characters @ : / ? # % of a user or password "
        "percent-encoded, such as %40 for @",
    ),
    "an async keep_alive": (
        lambda: {"redis": URL, "keep_alive": asyncio.wait},
        TypeError,
        "keep_alive is a function without async, which takes an awaitable",
    ),
    "a keep_alive that is no function": (
        lambda: {"redis": URL, "keep_alive": 7},
        TypeError,
        "keep_alive is a function without async, which takes an awaitable",
    ),
}


@pytest.mark.parametrize("given", BAD)
async def test_a_wrong_argument_is_refused_in_a_sentence(given: str) -> None:
    arguments, error, sentence = BAD[given]
    with pytest.raises(error) as refused:
        ResumableStreams(**arguments())
    assert str(refused.value) == sentence


async def test_a_wait_that_is_not_a_number_of_seconds_is_refused() -> None:
    streams = MemoryBroker().streams()
    for wait in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="wait is a finite number, 0 or more"):
            await streams.aclose(wait)


ENVIRONMENTS = [
    ({}, "give ResumableStreams the URL of a Redis, or set REDIS_URL or KV_URL"),
    ({"REDIS_URL": ""}, "give ResumableStreams the URL of a Redis, or set REDIS_URL or KV_URL"),
    (
        {"REDIS_URL": "redis://:hunter2@", "KV_URL": "redis://:hunter2@h"},
        "REDIS_URL, the first that is set of REDIS_URL and KV_URL, must have HOST or HOST:PORT for "
        "each server, an IPv6 HOST in brackets",
    ),
    (
        {"REDIS_URL": "", "KV_URL": "https://hunter2@h"},
        "KV_URL, the first that is set of REDIS_URL and KV_URL, must be a redis:// or "
        "rediss:// URL: HTTP has no pub/sub",
    ),
]


@pytest.mark.parametrize(
    ("environment", "sentence"), ENVIRONMENTS, ids=["none", "empty", "the first", "the second"]
)
def test_an_environment_without_a_valid_url_is_refused_by_the_names_of_its_variables(
    environment: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, environment)
    with pytest.raises(ValueError, match=r"REDIS_URL.*KV_URL") as refused:
        ResumableStreams()
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "environment",
    [{"REDIS_URL": URL, "KV_URL": "redis://h:2"}, {"REDIS_URL": "", "KV_URL": URL}],
    ids=["REDIS_URL", "KV_URL"],
)
async def test_without_a_url_the_environment_has_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, environment)
    with pytest.raises(Unavailable, match=r"Connect call failed.*'127.0.0.1', 1") as away:
        await ResumableStreams().state("a")
    assert "hunter2" not in str(away.value)


AWAY = [
    pytest.param(
        "redis+sentinel://:hunter2@127.0.0.1:1/a?sentinel_password=hunter2",
        "No master found for 'a'",
        id="sentinels",
    ),
    pytest.param(
        "redis+cluster://:hunter2@127.0.0.1:1", "Redis Cluster cannot be connected.", id="cluster"
    ),
    pytest.param("redis+unix://:hunter2@/no/s", "Error 2 connecting to /no/s", id="socket"),
    pytest.param("rediss://:hunter2@127.0.0.1:1", "Error 111 connecting to 127.0.0.1:1", id="TLS"),
]


@pytest.mark.parametrize(("url", "words"), AWAY)
async def test_servers_that_are_away_are_an_error_without_passwords(url: str, words: str) -> None:
    async with ResumableStreams(url) as streams:
        with pytest.raises(Unavailable) as away:
            await streams.state("a")
    assert str(away.value).startswith(f"the Redis of resumable streams is away: {words}")
    shown = "".join(traceback.format_exception(away.value))
    assert "hunter2" not in shown
    assert "sentinel" not in url or len(str(away.value)) < 100  # nor what a client is made of


def _set(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in ("REDIS_URL", "KV_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


# A publisher and a subscriber of an application


@pytest.mark.parametrize("kind", [MemoryBroker, RenewingBroker])
async def test_a_broker_of_an_application_is_connected_once_and_its_keys_are_renewed(
    kind: type[MemoryBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production, "RENEW_S", 0.01)
    publisher, subscriber = kind(), MemoryBroker()
    subscriber.channels = publisher.channels
    for _ in range(2):
        async with ResumableStreams(
            publisher=publisher, subscriber=subscriber, sentinel_ttl=60
        ) as streams:
            tap = Tap()
            text = await streams.create("a", tap)
            await until(lambda: len(publisher.lifetimes) >= 3)
            publisher.values.clear()  # as in a restart
            await until(lambda: state_is(streams, "active"))
            tap.end()
            assert await whole(text) == ""
            await until(lambda: state_is(streams, "done"))
            with pytest.raises(Conflict):
                await streams.create("a", tap)
        assert {*publisher.lifetimes} == {60}
        assert publisher.channels == {}
        publisher.lifetimes.clear()
        publisher.values.clear()
    assert (publisher.connects, subscriber.connects) == (2, 2)


class BrokenBroker(MemoryBroker):
    """A broker that is away while `is_away`, with a password in its error."""

    is_away = True

    async def connect(self) -> None:
        await super().connect()
        if self.is_away:
            raise LookupError("amqp://hunter2@h")

    async def get(self, key: str) -> str | None:
        if self.is_away:
            raise LookupError("amqp://hunter2@h")
        return await super().get(key)


async def test_what_a_broker_of_an_application_raises_is_the_cause_of_unavailable() -> None:
    broker = BrokenBroker()
    streams = broker.streams()
    for operation in (
        lambda: streams.state("a"),
        lambda: streams.resume("a"),
        lambda: streams.create("a", chunks),
    ):
        with pytest.raises(Unavailable) as raised:
            await operation()
        assert str(raised.value) == "the broker of resumable streams failed: LookupError"
        assert isinstance(raised.value.__cause__, LookupError)
    broker.is_away = False
    assert await whole(await streams.create("a", lambda: chunks("text"))) == "text"
    connects = broker.connects
    broker.is_away = True  # it need not connect again
    with pytest.raises(Unavailable):
        await streams.state("a")
    assert broker.connects == connects


async def test_a_reader_whose_producer_is_gone_leaves_its_key_a_lifetime() -> None:
    broker = MemoryBroker()
    streams = broker.streams(resume_timeout=0.01, sentinel_ttl=60)
    broker.values[sentinel("a")] = "3"
    assert await streams.resume("a") is None
    assert (broker.values, broker.lifetimes) == ({sentinel("a"): "3"}, [60])
    assert broker.channels == {}


async def test_closing_ends_the_subscriptions_of_readers_of_a_broker_of_an_application() -> None:
    broker = MemoryBroker()
    producer, other, tap = broker.streams(), broker.streams(), Tap()
    await producer.create("a", tap)
    text = await other.resume("a")
    assert text is not None
    assert len(broker.channels) == 2
    await other.aclose()
    assert len(broker.channels) == 1
    await text.aclose()
    await producer.aclose(wait=0)
    assert broker.channels == {}


def _client_of_nothing() -> Redis:
    return Redis(port=1, retry=Retry(NoBackoff(), 0))


def test_a_client_of_an_application_belongs_to_its_first_event_loop() -> None:
    for streams in (MemoryBroker().streams(), ResumableStreams(_client_of_nothing())):

        async def use(streams: ResumableStreams = streams) -> None:
            if streams._broker is None:
                await streams.aclose()  # which opens nothing
            try:
                await streams.state("a")
            except Unavailable:
                pass
            finally:
                await streams.aclose()

        asyncio.run(use())
        with pytest.raises(RuntimeError, match="has a client of another event loop: make a client"):
            asyncio.run(use())
