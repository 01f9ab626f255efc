"""The broker that the arguments of an application, or its environment, choose."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from headgate.redis_url import parse_redis
from headgate.resumable.brokers import PairBroker

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis, RedisCluster

    from headgate.redis_url import RedisUrl
    from headgate.resumable.brokers import Broker, Publisher, Subscriber

VARIABLES = ("REDIS_URL", "KV_URL")  # of the environment, the first that is set


def broker_maker(
    redis: str | Redis | RedisCluster | None,
    publisher: Publisher | None,
    subscriber: Subscriber | None,
) -> tuple[Callable[[], Broker], bool]:
    """Return what makes the broker, and whether it is made of an application's own objects.

    Raises TypeError or ValueError if none can be made of the arguments, and ImportError.
    """
    if publisher is not None or subscriber is not None:
        if redis is not None:
            raise TypeError(
                "a ResumableStreams takes a Redis, or a publisher with a subscriber, and not both"
            )
        _check_has("publisher", publisher, ("connect", "publish", "set", "get", "incr"))
        _check_has("subscriber", subscriber, ("connect", "subscribe", "unsubscribe"))
        return partial(PairBroker, publisher, subscriber), True  # type: ignore[arg-type]  # checked
    try:
        from headgate.resumable import redis as with_redis
    except ImportError as error:
        raise ImportError(
            "Redis needs an extra: pip install './client[redis]' in a clone of Headgate, "
            'or "$(ls ./headgate_client-*.whl)[redis]" in the folder of a release'
        ) from error
    if redis is None or isinstance(redis, str):
        return partial(with_redis.broker_at, _parsed(redis)), False
    with_redis.check_client(redis)
    return partial(with_redis.RedisBroker, redis), True


def _check_has(name: str, role: object, methods: tuple[str, ...]) -> None:
    if role is None:
        raise TypeError(f"a publisher and a subscriber come together: add {name}=")
    if isinstance(role, type):
        raise TypeError(f"a {name} is an object: make one of the class {role.__name__}")
    missing = [method for method in methods if not callable(getattr(role, method, None))]
    if missing:
        raise TypeError(
            f"a {name} has the methods {', '.join(methods)}, and a {type(role).__name__} has no "
            f"{', '.join(missing)}; a client of redis-py is given alone: ResumableStreams(client)"
        )


def _parsed(url: str | None) -> RedisUrl:
    name = "the URL of a Redis"
    if url is None:
        name = next((each for each in VARIABLES if os.environ.get(each)), "")
        if not name:
            raise ValueError(
                f"give ResumableStreams the URL of a Redis, or set {' or '.join(VARIABLES)}"
            )
        url, name = os.environ[name], f"{name}, the first that is set of {' and '.join(VARIABLES)},"
    if url.startswith(("http:", "https:")):
        raise ValueError(f"{name} must be a redis:// or rediss:// URL: HTTP has no pub/sub")
    try:
        return parse_redis(url)
    except ValueError as error:  # its sentence has no part of the URL that may be a secret
        raise ValueError(f"{name} {error}") from None
