"""Faults where nobody expects any: one call of the gateway's own functions raises.

A first run notes the calls on the way of a request, then each of them fails in a run of its own.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import gateway

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Self

ROOT = f"{Path(gateway.__file__).parent}/"
# They tell of what goes wrong, or come by a timer whatever is asked.
NOT_ON_THE_WAY = ("telemetry/", "settings/", "backends/origin_health.py", "web/repeats.py")
BY_TIMERS = frozenset({"ConnectionServer._sweep_slow", "Connection.too_slow"})
# What gives something back has to run: it decides nothing, and asks nobody.
GIVES_BACK = frozenset(
    {
        "Connection.connection_lost",
        "ConnectionServer.reader_lost",
        "EdgeCache._left",
        "EdgeFeeds._forget",
        "EdgeFeeds.feed_empty",
        "EdgeFeeds._linger",
        "EdgeFeeds.reader_left",
        "EventReader.connection_lost",
        "Feed._forget",
        "Feed.gone",
        "Feed.has_readers",
        "Feed.leave",
        "Feed.left",
        "Limits.connection_lost",
        "Limits.reader_left",
        "LogFeeds.feed_empty",
        "LogFeeds.reader_left",
        "OriginAnswer.release",
        "Parts.left",
        "PartsReader.release",
        "Polls.__len__",
        "Polls.leave",
        "Watch.end",
        "Window.end",
    }
)


class Injected(RuntimeError):
    """What no code of the gateway raises, nor expects."""


class Call(NamedTuple):
    """The so-manieth call of a function, counted from 1."""

    module: str
    function: str
    number: int

    def __str__(self) -> str:
        return f"{self.module}:{self.function}#{self.number}"


class Watched:
    """Notes the calls of functions of the gateway within the block, and lets one raise.

    A coroutine function is called once, however often it goes on after an await.
    """

    def __init__(self, fails: Call | None = None) -> None:
        self.calls: list[Call] = []
        self.has_failed = False
        self._fails = fails
        self._counted: Counter[tuple[str, str]] = Counter()

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
        if not code.co_filename.startswith(ROOT) or code.co_code[frame.f_lasti + 1] & 3:
            return  # the argument of RESUME: it goes on after a yield or an await
        module, function = code.co_filename.removeprefix(ROOT), code.co_qualname
        if module.startswith(NOT_ON_THE_WAY) or function in BY_TIMERS | GIVES_BACK:
            return
        if code.co_name.startswith("<"):
            return  # a part of the function that it is written in
        self._counted[module, function] += 1
        call = Call(module, function, self._counted[module, function])
        self.calls.append(call)
        if call == self._fails:
            self.has_failed = True
            sys.settrace(None)
            raise Injected(str(call))
