"""Questions about the streams of a route and how a request would be answered, and the answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from headgate_gateway.features.questions.readers import ReaderMode
from headgate_gateway.protocol.streams.limits import LimitChanges, StreamLimits

PAGE = 50  # streams of a page by default
LARGEST_PAGE = 500
MOST_PRODUCERS = 100
StreamOrder = Literal["name", "readers", "rate", "growth", "size"]


class ListStreams(msgspec.Struct, tag=True, frozen=True):
    """The streams of a route whose names begin with `name_prefix`, a page of them.

    By name they rise, by anything else they fall. `name_prefix` may be written as a client would; a
    route is given its canonical form. `after` is the `after` of the page before. `contains` and
    `glob` are further conditions on the names (`name_test`).
    """

    route: str  # its prefix
    name_prefix: str = ""
    contains: str = ""
    glob: str = ""
    order: StreamOrder = "name"
    after: str = ""
    limit: int = PAGE


class StreamRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as a list shows it. None is what is not known, which is not zero."""

    name: str  # below the prefix of its route
    content_type: str | None = None
    closed: bool = False
    tail: str | None = None  # an offset
    size: int | None = None  # bytes from its beginning to its tail
    readers: int = 0  # that wait for news in the process that answers
    rate: float | None = 0.0  # appends a second through this process, in the last minute
    growth: float | None = None  # bytes appended through this process, in the last hour
    last_append_at: float | None = None  # epoch seconds, of the last append through this process
    expires_at: float | None = None  # epoch seconds
    forked_from: str | None = None  # a path
    created_at: float | None = None  # epoch seconds
    stream_id: str | None = None  # another stream at this name, created later, has another one
    is_copied: bool = False  # an origin has it, and so its rate, end and producers are not known


class StreamPage(msgspec.Struct, tag=True, frozen=True):
    """Streams, and where the next page begins; None when there is none.

    By name, `after` is a name: no stream up to it is missing from this page. `compared` is how many
    names a search has compared: all, or if that takes too long, those up to `after`. `as_of`
    is the time of the survey (epoch seconds), if the order is that of a survey. With `known_only`
    there may be streams that no client has requested from this gateway.
    """

    rows: tuple[StreamRow, ...]
    after: str | None = None
    as_of: float | None = None
    known_only: bool = False
    compared: int = 0


class DescribeStream(msgspec.Struct, tag=True, frozen=True):
    """A question for one stream, with its producers and its readers."""

    route: str
    name: str


class LimitStream(msgspec.Struct, tag=True, frozen=True):
    """Set limits of one stream, and describe it: every process may do so."""

    route: str
    name: str
    changes: LimitChanges


class ProducerRow(msgspec.Struct, frozen=True):
    """An idempotent producer (PROTOCOL.md section 5.2.1)."""

    producer_id: str
    epoch: int
    seq: int


class StreamDescription(msgspec.Struct, tag=True, frozen=True):
    """A stream as its page shows it. `metadata` is shown as it is, in this order.

    `limits` are None where an origin decides on them.
    """

    row: StreamRow
    metadata: dict[str, str]
    producers: tuple[ProducerRow, ...] = ()
    producers_in_all: int | None = 0  # None where they are not known
    readers_by_mode: dict[ReaderMode, int] = {}
    limits: StreamLimits | None = None


class ExplainRequest(msgspec.Struct, tag=True, frozen=True):
    """A question of how a request would be answered now.

    `target` is path and query, or a whole URL, which names the host unless a header does.
    """

    target: str
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "GET"


class ExplainStep(msgspec.Struct, frozen=True):
    """A step on a request's way: its name, its outcome, and the rule that decided it."""

    title: str
    outcome: str
    rule: str


class Explanation(msgspec.Struct, tag=True, frozen=True):
    """The steps in their order, and how it ends: HIT, MISS, COLLAPSED, BYPASS, an error's code.

    If the workers have different results, it has all of them.
    """

    steps: tuple[ExplainStep, ...]
    result: str
