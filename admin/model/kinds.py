"""The words that many values share: levels, spans, results, roles."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.monitoring.promql import ALARM, TARGET

Level = Literal["good", "warning", "bad"]
Span = Literal["15m", "1h", "6h", "24h"]
Result = Literal["hit", "collapsed", "revalidated", "stale", "miss", "error"]
Transport = Literal["sse", "long-poll"]
Role = Literal["viewer", "operator"]
RESULTS: tuple[Result, ...] = ("hit", "collapsed", "revalidated", "stale", "miss", "error")
# Of reads that are to be served without the origin, and of which fewer are an alarm.
TARGET_RATIO, ALARM_RATIO = TARGET, ALARM


class HealthState(msgspec.Struct, frozen=True):
    """The state of something in a word or two: serving; degraded: log unreachable; draining."""

    level: Level
    words: str
