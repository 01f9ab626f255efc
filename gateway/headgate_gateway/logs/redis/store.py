"""The Redis of a log: calls that find their servers, and channels.

The log uses it, and so do the features that store something beside it.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from headgate_gateway.background import settle
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.redis.connection import Refusal, Unreachable, pack
from headgate_gateway.logs.redis.connector import READ_PROBE
from headgate_gateway.logs.redis.names import VERSION, RedisNames, twin_of
from headgate_gateway.logs.redis.notifications import Notifications
from headgate_gateway.logs.redis.pipeline import ENOUGH
from headgate_gateway.logs.redis.primary import Probes
from headgate_gateway.logs.redis.replies import is_current
from headgate_gateway.logs.redis.servers import RedisServers
from headgate_gateway.logs.sharing import Sharing
from headgate_gateway.protocol.streams.state import ClockReading
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.logs.redis.connection import Packed, Reply
    from headgate_gateway.logs.redis.connector import RedisConnector
    from headgate_gateway.logs.redis.pipeline import Answer
    from headgate_gateway.logs.redis.primary import Primary
    from headgate_gateway.logs.sharing import LogListener
    from headgate_gateway.protocol.streams.state import StreamState

TIMEOUT_S = 6.0  # a call that may have been carried out is tried again for so long
RETRY_S = 0.1  # between two tries: a server that is back gets calls soon
MOST_REDIRECTS = 8  # times that one call is sent elsewhere, or again after its function was loaded
AT_RISK = "stored, but fewer replicas than wait_replicas have it yet: it may be lost in a failover"
DID_NOT_ANSWER = "the log did not answer: {}"
CANNOT_BE_REACHED = "the log cannot be reached: {}"
ASKING = pack("ASKING")
PASSING = {"TRYAGAIN", "CLUSTERDOWN"}


class RedisStore(Sharing):
    """The servers of one log, called by the key that a call concerns, and the channels of the log.

    Keys and channels that are not the log's begin with `prefix`, ":" and a name; braces or brackets
    after that never make one the key of a stream.
    """

    def __init__(
        self, connector: RedisConnector, on_history_change: Callable[[Primary], None]
    ) -> None:
        """Call `on_history_change` with a server that has another history than before."""
        self.wait_replicas = connector.settings.wait_replicas
        self.repeats_wait: bool = self.wait_replicas > 0
        self.prefix = connector.origin.prefix
        self.names = RedisNames(self.prefix)
        self.gateway = secrets.token_hex(4)  # the name of this gateway in Redis
        self.servers = RedisServers(
            connector,
            Probes(
                pack("FCALL", f"headgate_probe_{VERSION}", 0, self.prefix),
                pack(*READ_PROBE),
            ),
            on_history_change,
            on_move=lambda: self.notifications.find(),
        )
        self.notifications: Notifications = Notifications(self.names, self.servers)

    async def open(self) -> None:
        """Listen, and look for the servers; wait up to a second for them."""
        self.notifications.open()
        await self.servers.open()

    async def close(self) -> None:
        """Close all connections."""
        await self.notifications.close()
        await self.servers.close()

    async def execute(
        self, key: str, *calls: Packed, commits: bool = False, expected: int = 0
    ) -> list[Reply]:
        """Return the replies of the server that has `key`. Raises LogUnavailable.

        `expected` is about how many bytes they may be, where they are many.
        """
        return (await self._reply(key, calls, commits=commits, expected=expected)).replies

    async def commit(self, key: str, call: Packed) -> Reply:
        """Return the reply to a write, once `wait_replicas` have it. Raises LogUnavailable."""
        answer = await self._reply(key, [call], commits=True, expected=0)
        if answer.is_at_risk(self.wait_replicas):
            raise LogUnavailable(AT_RISK)
        return answer.replies[-1]

    async def _reply(
        self, key: str, calls: Sequence[Packed], *, commits: bool, expected: int
    ) -> CallReplies:
        replied: asyncio.Future[CallReplies] = asyncio.get_running_loop().create_future()
        done = partial(settle, replied)
        RedisCall(self.servers, key, calls, done, commits=commits, expected=expected).send()
        return await replied

    @override
    def listen(self, listener: LogListener) -> None:
        self.notifications.listener = listener

    @override
    async def is_current(self, state: StreamState) -> bool:
        path = state.path
        (reply,) = await self.execute(self.names.meta(path), self.names.call("confirm", path))
        self.servers.compare(int(reply[0]))
        return is_current(reply, state)

    @override
    def follow(self, path: str) -> None:
        self.notifications.follow(self.names.meta(path))

    @override
    def unfollow(self, path: str) -> None:
        self.notifications.unfollow(self.names.meta(path))

    @override
    async def removal_time(self, now: ClockReading) -> ClockReading:
        """Return `now`, or the time of the server of the deadlines if that is earlier.

        A gateway whose clock is ahead then removes no stream that has not ended by Redis' clock.
        """
        ((seconds, micros),) = await self.execute(self.names.deadlines, pack("TIME"))
        time = int(seconds) + int(micros) / 1e6
        return ClockReading(min(now.wall, time), min(now.steady, time))


class CallReplies(NamedTuple):
    """The replies to the calls and to the epilogue of their pipeline, and the server."""

    replies: list[Reply]
    epilogue: Reply
    primary: Primary

    def is_at_risk(self, wait_replicas: int) -> bool:
        """Return whether fewer replicas than `wait_replicas` have a write, as WAIT replied."""
        if not wait_replicas:
            return False
        return not isinstance(self.epilogue, int) or self.epilogue < wait_replicas


@dataclass(slots=True, eq=False)
class RedisCall:
    """Packed calls for the server of `key`; `done` gets what it answered, or LogUnavailable.

    A call whose connection is lost is sent again, commits included: one that was carried out before
    recognizes itself by its token.
    """

    servers: RedisServers
    key: str
    calls: Sequence[Packed]
    done: Callable[[CallReplies | LogUnavailable], None]
    commits: bool = False
    expected: int = 0  # about how many bytes the replies are, where they are many
    deadline: float = 0.0  # loop time of the last attempt; 0 until the first failure
    redirects: int = 0
    was_sent: bool = False

    @staticmethod
    def send_commits(calls: Sequence[RedisCall]) -> None:
        """Send commits, ENOUGH at a time to a server; each is answered and repeated by itself."""
        by_server: dict[Primary, list[RedisCall]] = {}
        for call in calls:
            primary = call.servers.primary_of(call.key)
            if primary is None or primary.is_down:
                call.send()
            else:
                by_server.setdefault(primary, []).append(call)
        for primary, several in by_server.items():
            for at in range(0, len(several), ENOUGH):
                part = several[at : at + ENOUGH]
                packed = [one for call in part for one in call.calls]
                primary.commits.send(packed, partial(_split, primary, part))

    def send(self) -> None:
        """Send the calls, or send them again."""
        primary = self.servers.primary_of(self.key)
        if primary is not None:
            self._send_to(primary)
            return
        asyncio.get_running_loop().create_task(self._find_and_send())

    async def _find_and_send(self) -> None:
        try:
            primary = await self.servers.find(self.key)
        except Unreachable as failure:
            self._unreachable(failure)
        except asyncio.CancelledError:
            self._unreachable(Unreachable("the gateway is stopping"))
        except Exception as error:
            self._fail(f"the log cannot be reached: {error!r}")
            raise
        else:
            self._send_to(primary)

    def _send_to(self, primary: Primary) -> None:
        if primary.is_down:  # its probes find out when it is back
            why = primary.why_unhealthy or "it is down"
            asyncio.get_running_loop().call_soon(self._unreachable, Unreachable(why))
            return
        pipeline = primary.commits if self.commits else primary.reads
        pipeline.send(self.calls, partial(self.on_answer, primary), self.expected)

    def _send_asking(self, primary: Primary) -> None:
        """Send to the server that imports the slot: it takes a call only after ASKING."""
        asking = [command for call in self.calls for command in (ASKING, call)]

        def on_answer(answer: Answer | Unreachable) -> None:
            if not isinstance(answer, Unreachable):
                answer = (answer[0][1::2], answer[1])
            self.on_answer(primary, answer)

        pipeline = primary.commits if self.commits else primary.reads
        pipeline.send(asking, on_answer, self.expected)

    def _send_twins(self, primary: Primary) -> None:
        """Send to a server that takes no writes the calls that write nothing."""
        primary.probe_soon()
        twins = [twin_of(call) or call for call in self.calls]
        pipeline = primary.commits if self.commits else primary.reads
        pipeline.send(twins, partial(self.on_answer, primary), self.expected)

    def on_answer(self, primary: Primary, answer: Answer | Unreachable) -> None:
        """Pass on the replies, or send the calls again."""
        if isinstance(answer, Unreachable):
            primary.probe_soon()
            self._unreachable(answer)
            return
        replies, epilogue = answer
        counts = replies[-1:] if self.commits else replies  # a note before it may be refused
        refusals = [reply for reply in counts if isinstance(reply, Refusal)]
        if refusals:
            self._refused(primary, refusals[0], of_all=len(refusals) == len(replies))
        else:
            self.done(CallReplies(replies, epilogue, primary))

    def _unreachable(self, failure: Unreachable) -> None:
        self.was_sent = self.was_sent or failure.was_sent
        self.servers.moved()  # another server may have taken over
        if (self.was_sent or failure.is_passing) and self._try_later():
            return
        text = DID_NOT_ANSWER if self.was_sent else CANNOT_BE_REACHED
        self._fail(text.format(failure.why))

    def _refused(self, primary: Primary, refusal: Refusal, *, of_all: bool) -> None:
        # Of a slot that is moving, some keys may be here and some there.
        is_passing = refusal.code in PASSING or (refusal.code == "ASK" and not of_all)
        if is_passing and primary.why_unhealthy is None and self._try_later():
            self.servers.moved()
            return
        # The server that ASK names does it, or asks for patience.
        self.redirects += refusal.code != "ASK"
        if self.redirects > MOST_REDIRECTS:
            self._fail(f"the log refuses: {refusal.meaning}")
        elif refusal.takes_no_writes and any(map(twin_of, self.calls)):
            self._send_twins(primary)
        elif refusal.code == "MOVED":
            self.servers.moved()
            self.send()
        elif refusal.code == "ASK":
            host, _, port = str(refusal).split(" ")[2].rpartition(":")
            self._send_asking(self.servers.primary_at((host, int(port))))
        elif refusal.lacks_functions:
            primary.reconnect()  # with the next connection the functions are loaded again
            self.send()
        else:
            if refusal.code == "READONLY":
                primary.reconnect()
            primary.probe_soon()
            self.servers.complain(self.key, refusal)
            self._fail(f"the log refuses: {refusal.meaning}")

    def _try_later(self) -> bool:
        """Send the calls again after a pause; return False if that has gone on for too long."""
        loop = asyncio.get_running_loop()
        self.deadline = self.deadline or loop.time() + TIMEOUT_S
        if loop.time() >= self.deadline:
            return False
        loop.call_later(RETRY_S, self.send)
        return True

    def _fail(self, why: str) -> None:
        if self.was_sent and self.commits:
            why += ": it is not known whether this request was stored"
        self.done(LogUnavailable(why))


def _split(primary: Primary, calls: Sequence[RedisCall], answer: Answer | Unreachable) -> None:
    """Give each of several calls its part of an answer to all of them."""
    at = 0
    for call in calls:
        end = at + len(call.calls)
        part = answer if isinstance(answer, Unreachable) else (answer[0][at:end], answer[1])
        try:
            call.on_answer(primary, part)
        except Exception:  # noqa: BLE001 - the other calls must get their replies
            log.exception("log.unanswered")
        at = end
