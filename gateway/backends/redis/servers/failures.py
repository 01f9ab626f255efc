"""Errors of Redis and redis-py in words for an operator."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from redis import exceptions

from gateway.backends.redis.servers.pipeline import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

# redis-py turns some errors' codes into types.
CODES: dict[type[Exception], str] = {
    exceptions.ReadOnlyError: "READONLY",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
}


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise failures of redis-py as ours."""
    try:
        yield
    except tuple(CODES) as error:
        code = next(code for kind, code in CODES.items() if isinstance(error, kind))
        raise Unreachable(explained(f"{code} {error}")) from error
    except (
        exceptions.RedisError,
        exceptions.RedisClusterException,  # which is no RedisError
        OSError,
        TimeoutError,
        RuntimeError,  # of uvloop, when the other side was faster
    ) as error:
        raise Unreachable(explained(words(error))) from error


# How Redis refuses our calls after FUNCTION FLUSH, and our functions before they have a history.
_UNLOADED = ("Function not found", "NOHISTORY")


def lacks_functions(refusal: str) -> bool:
    """Return whether a refused call needs a new connection, with which our functions are loaded."""
    return any(sign in refusal for sign in _UNLOADED)


A_REPLICA = "this Redis is a replica, which takes no writes"
# The beginnings of what Redis says, and what that means here.
MEANINGS = {
    "OOM": "Redis is out of memory: raise maxmemory or remove streams",
    "READONLY": A_REPLICA,
    "LOADING": "Redis is loading its data",
    "MISCONF": "Redis cannot write its data to disk",
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write",
    "NOAUTH": "Redis asks for a password",
    "WRONGPASS": "Redis does not take the user name or password, or asks for one",
    "NOPERM": "the Redis user may not do what Headgate needs",
    "The user executing the script": "the Redis user may not do what Headgate needs",
    "CLUSTERDOWN": "the Redis cluster is down",
    "MASTERDOWN": "the Redis primary is down",
    "BUSY": "Redis is busy with a script of somebody else",
    "WRONGTYPE": "the key of this stream in Redis holds something else",
    "Redis Cluster cannot be connected": "no node of the cluster can be reached",
    "All slots are not covered": "no node of the cluster has some of the slots",
    "unknown command": "this Redis is older than 7.0, which has no functions",
}


def explained(text: str) -> str:
    """Return an error of Redis in words for an operator."""
    plain = text.removeprefix("ERR ")
    for beginning, meaning in MEANINGS.items():
        if plain.startswith(beginning):
            return f"{meaning} ({text})" if beginning == "NOPERM" else meaning
    return text


def words(error: Exception) -> str:
    """Return why redis-py failed, without the address: clients see these words too."""
    cause = error.__context__
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return "no answer in time"
    if isinstance(error, exceptions.ConnectionError) and isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return str(error) or type(error).__name__
