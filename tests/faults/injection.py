"""Faults where nobody expects any: one call of the gateway's own functions raises.

A first run notes the calls on the way of a request, then each of them fails in a run of its own.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import headgate_gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Self

ROOT = f"{Path(headgate_gateway.__file__).parent}/"
# They tell of what goes wrong, or come by a timer whatever is asked.
NOT_ON_THE_WAY = ("telemetry/", "settings/")
BY_TIMERS = frozenset({"Connections._sweep_slow", "Connection.end_if_slow"})
# asyncio says nothing of a protocol that cannot be made, and leaves its socket to the collector.
ACCEPTS = frozenset(
    {
        "ConnectionServer.requests_of",
        "SocketProtocol.connection_made",
        "Connection.connection_made",
        "Connection.__init__",
        "ConnectionRequests.__init__",
        "RequestParser.__init__",
        "request_parser",
    }
)
# What steps a handler is what everybody leans on: it calls one, and tells what came of it.
STEPS = frozenset(
    {
        "Later.__await__",
        "Later.__init__",
        "Later.done",
        "Later.exception",
        "Later.result",
        "Later.set_exception",
        "Later.set_result",
        "Later.subscribe",
        "Later.unsubscribe",
        "Step.__init__",
        "Step._advance",
        "Step._end",
        "Step._ended",
        "Step._rest",
        "Step._resumed",
        "Step._call",
        "Step._cancel_now",
        "Step._end_as",
        "Step._wait_for",
        "Step.cancel",
        "Step.done",
        "Step.resume",
        "Step.run",
        "_Turn.__enter__",
        "_Turn.__exit__",
        "_Turn.__init__",
        "_Turn.add",
        "_Turn.add_last",
        "_Turn.drain",
        "_Turn.schedule",
        "_Turn.settle",
        "in_task",
        "outcome_of",
    }
)
LEFT_OUT = BY_TIMERS | ACCEPTS
# Loop callbacks that do nothing but call others and see to it that nobody waits for ever then.
GUARDS = STEPS | frozenset(
    {
        "WriteQueue._advance_all",
        "WriteQueue._commit",
        "WriteQueue._gather",
        "WriteQueue._go_on",
        "WriteQueue._settled",
        "Connections._connect",
        "Fetches.ended",
        "Fetch._end",
        "Fetch._on_done",
        "OriginPollLoop._done",
        "OriginPollLoop._guarded",
        "Feed.publish",
        "FeedState.run",
        "Request._on_rest_read",
        "Request._on_replied",
        "Request.on_handled",
        "ConnectionRequests.on_over",
        "ConnectionRequests.resume",
        "SentRequest._on_task_done",
        "SentRequest.guarded",
        "OriginConnection._lose",
        "OriginConnection.data_received",
        "SingleFlight._on_done",
        "SseReader._read",
        "SseReader.advance",
        "StreamLoader._on_lookup_done",
        "Commits._settled",
        "Outcomes.deliver",
        "set_outcome",
        "park",
    }
)
# What gives something back has to run: it decides nothing, and asks nobody.
GIVES_BACK = frozenset(
    {
        "Connection.connection_lost",
        "Connection.release_slot",
        "ParkedPoll.on_disconnect",
        "Request.on_disconnect",
        "ConnectionRequests.on_lost",
        "ConnectionServer.reader_lost",
        "OriginConnection.connection_lost",
        "Fetch.leave",
        "Fetches.mark_settled",
        "FollowedTable.remove",
        "FollowedStreams._unfollow",
        "FollowedStreams.on_feed_empty",
        "FollowedStreams._linger",
        "SseReader.connection_lost",
        "SseReaders.__len__",
        "Request.call_at_end",
        "BodyCount.release",
        "ServerLimits.connection_lost",
        "ServerLimits.release_reader",
        "SseReaders.remove",
        "settle",
        "Feed.has_readers",
        "Feed.remove",
        "Feed.release_reader",
        "HostedFeeds._end",
        "HostedFeeds.on_feed_empty",
        "AnswerDeadlines.stop",
        "SentRequest._end_attempt",
        "SentRequest.on_released",
        "SentRequest._leave",
        "OriginConnection.abandon",
        "SocketProtocol.close",
        "SocketProtocol.resume_writing",
        "UnreadBody.release",
        "OriginAnswer.release",
        "RecentNews.__bool__",
        "SharedBody.remove_reader",
        "Store._remove",
        "FetchReader.release",
        "LongPolls.are_coming_back",
        "LongPolls.remove",
        "LongPolls._forget",
        "FollowedStream.close",
        "RecentWindow.close",
    }
)


class Injected(RuntimeError):
    """What no code of the gateway raises, nor expects."""


class Call(NamedTuple):
    """The so-manieth call of a function, counted from 1; or the so-manieth time it goes on."""

    module: str
    function: str
    number: int
    goes_on: bool = False

    def __str__(self) -> str:
        return f"{self.module}:{self.function}{'+' if self.goes_on else '#'}{self.number}"


class Fault(NamedTuple):
    """A call raises, or the client `leaves` as it comes."""

    call: Call
    leaves: bool

    def __str__(self) -> str:
        return f"{'leaves' if self.leaves else 'raises'} at {self.call}"


class Watched:
    """Notes the calls of functions of the gateway within the block, and has one fault come.

    A coroutine function is called once, however often it goes on after an await. `turns` are
    what the event loop, or what is built on it, has called: in between anything may happen.
    """

    def __init__(self, fault: Fault | None, leave: Callable[[], None]) -> None:
        self.calls: list[Call] = []
        self.turns: list[Call] = []
        self.has_failed = False
        self._fault = fault
        self._leave = leave
        self._counted: Counter[tuple[str, str, bool]] = Counter()

    def __enter__(self) -> Self:
        sys.settrace(self._called)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, _event: str, _argument: object) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(ROOT) or code.co_name.startswith("<"):
            return  # <lambda> and its like: a part of the function that it is written in
        module, function = code.co_filename.removeprefix(ROOT), code.co_qualname
        if module.startswith(NOT_ON_THE_WAY) or function in LEFT_OUT:
            return
        goes_on = bool(code.co_code[frame.f_lasti + 1] & 3)  # as the argument of RESUME says
        self._counted[module, function, goes_on] += 1
        call = Call(module, function, self._counted[module, function, goes_on], goes_on)
        if not (goes_on or function in GUARDS | GIVES_BACK):
            self.calls.append(call)
        if frame.f_back is None or not frame.f_back.f_code.co_filename.startswith(ROOT):
            self.turns.append(call)
        if self._fault is not None and call == self._fault.call:
            self._come(self._fault)

    def _come(self, fault: Fault) -> None:
        self.has_failed = True
        sys.settrace(None)
        if not fault.leaves:
            raise Injected(str(fault))
        self._leave()
