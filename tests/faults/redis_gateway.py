"""A gateway before Redis, as the tests of faults ask it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.faults.disk import append
from tests.support.http1 import ConnectionEnded, ask
from tests.support.processes import Headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from tests.support.http1 import Answer
    from tests.support.redis_servers import RedisServer


def gateway_to(origin: str) -> Headgate:
    """One that logs in JSON, not yet started."""
    return Headgate(origin, environment={"HEADGATE_LOG__FORMAT": "json"})


@contextlib.contextmanager
def redis_gateway(origin: str) -> Iterator[Headgate]:
    """A started one that is killed when the block ends."""
    gateway = gateway_to(origin)
    try:
        yield gateway.start()
    finally:
        gateway.close()


def complaints(gateway: Headgate) -> Counter[str]:
    """How often it logged each thing that an operator should know of."""
    return Counter(line["event"] for line in _lines(gateway) if line["level"] != "info")


def assert_told_once(gateway: Headgate, event: str, *words: str) -> None:
    """It logged the event once, with the words as its reason, and nothing else twice."""
    reasons = [line["reason"] for line in _lines(gateway) if line["event"] == event]
    assert len(reasons) == 1, reasons
    assert all(word in reasons[0] for word in words), reasons
    assert set(complaints(gateway).values()) == {1}, gateway.output()


def _lines(gateway: Headgate) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.output().splitlines()]


def readiness(gateway: Headgate) -> Answer:
    return ask(gateway.admin_port, "GET", "/readyz")


def assert_not_ready(gateway: Headgate, *words: str) -> None:
    """`/readyz` is 503 soon, and the check of the log has the words."""
    _await_readiness(gateway, 503, "not ready", words)


def assert_degraded(gateway: Headgate, *words: str) -> None:
    """`/readyz` is 200 soon and says *degraded*, and the note of the log has the words."""
    _await_readiness(gateway, 200, "degraded", words)


def _await_readiness(gateway: Headgate, status: int, verdict: str, words: Sequence[str]) -> None:
    def is_told() -> bool:
        answer = readiness(gateway)
        told = answer.json()["checks"]["log /v1/stream"]
        is_as_expected = (answer.status, answer.json()["status"]) == (status, verdict)
        return is_as_expected and all(word in told for word in words)

    wait_until(is_told, f"/readyz to be {verdict} by {words}", lambda: str(readiness(gateway).body))


def await_ready(gateway: Headgate) -> None:
    wait_until(lambda: readiness(gateway).status == 200, "/readyz to be 200", gateway.output)


@contextlib.contextmanager
def starting(gateway: Headgate) -> Iterator[Future[Headgate]]:
    """When a gateway that accepts becomes ready; it is killed in the end."""
    with ThreadPoolExecutor(1) as pool:
        try:
            started = pool.submit(gateway.start)
            wait_until(
                lambda: accepts(gateway.admin_port) and accepts(gateway.port),
                "the gateway to accept",
                gateway.output,
            )
            yield started
        finally:
            gateway.close()


def append_until_taken(gateway: Headgate, stream: str, data: bytes) -> None:
    """Append as a client does that repeats what was refused, and only that."""

    def is_taken() -> bool:
        answer = append(gateway, stream, data)
        assert answer.status in {204, 503}, answer
        return answer.status == 204

    wait_until(is_taken, f"an append to {stream} to be taken", gateway.output)


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError, ConnectionEnded):
        return ask(port, "GET", "/healthz").status > 0
    return False


def lose_the_disk(redis: RedisServer) -> None:
    """Let it save in vain, after which it refuses writes (MISCONF)."""
    (redis.folder / "taken.rdb").mkdir()
    redis.command("CONFIG", "SET", "save", "3600 1", "dbfilename", "taken.rdb")
    redis.command("BGSAVE")
    wait_until(
        lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err",
        "saving to fail",
        redis.output,
    )
