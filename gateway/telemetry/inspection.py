"""Questions to a running gateway besides its metrics, and its answers.

A question goes to one process or to several; each answers for itself. Both are plain values, so
that they pass between processes as JSON.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec

from gateway.errors import BadRequest
from gateway.protocol.streams.limits import LimitChanges, StreamLimits
from gateway.telemetry.event_journal import ProcessEvents
from gateway.telemetry.inspected.readers import ReaderAnswer, ReaderMode, ReaderQuestion
from gateway.telemetry.inspected.subscriptions import SubscriptionAnswer, SubscriptionQuestion

PAGE = 50  # streams of a page, when nobody says otherwise
LARGEST_PAGE = 500
MOST_PRODUCERS = 100
# Bytes that a gateway tells others of its figures. A route takes less than a thousand.
LONGEST_FIGURES = 256 << 10

RunStatus = Literal["active", "finished", "stopped", "failed", "orphaned"]
StreamOrder = Literal["name", "readers", "rate", "size"]


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
    readers: int = 0  # that wait for news in the process that tells
    rate: float | None = 0.0  # appends a second through this process, in the last minute
    expires_at: float | None = None  # epoch seconds
    forked_from: str | None = None  # a path
    created_at: float | None = None  # epoch seconds
    stream_id: str | None = None  # another stream at this name, created later, has another one
    is_copied: bool = False  # an origin has it, and so its rate, end and producers are not known


class StreamPage(msgspec.Struct, tag=True, frozen=True):
    """Streams, and where the next page begins; None when there is none.

    By name, `after` is a name: no stream up to it is missing from this page. A page of a search may
    be short, or empty, and others may follow. `as_of` is the time of the survey (epoch seconds), if
    the order is that of a survey. With `known_only` there may be streams that no client has
    requested from this gateway.
    """

    rows: tuple[StreamRow, ...]
    after: str | None = None
    as_of: float | None = None
    known_only: bool = False


class DescribeStream(msgspec.Struct, tag=True, frozen=True):
    """A question for one stream, with its producers and its readers."""

    route: str
    name: str


class LimitStream(msgspec.Struct, tag=True, frozen=True):
    """Set limits of one stream, and describe it: every process that is asked may do so."""

    route: str
    name: str
    changes: LimitChanges


class ProducerRow(msgspec.Struct, frozen=True):
    """An idempotent producer (PROTOCOL.md section 5.2.1)."""

    producer_id: str
    epoch: int
    seq: int


class KnownTime(msgspec.Struct, frozen=True):
    """A moment (epoch seconds) at which everything before an offset had been appended."""

    at: float
    offset: str


class StreamDescription(msgspec.Struct, tag=True, frozen=True):
    """A stream as its page shows it. `metadata` is shown as it is, in this order.

    `limits` are None where an origin decides what it keeps.
    """

    row: StreamRow
    metadata: dict[str, str]
    producers: tuple[ProducerRow, ...] = ()
    producers_in_all: int | None = 0  # None where they are not known
    readers_by_mode: dict[ReaderMode, int] = {}
    limits: StreamLimits | None = None
    times: tuple[KnownTime, ...] = ()  # a few, the oldest first, where a retention is set


class ListRuns(msgspec.Struct, tag=True, frozen=True):
    """A page of a route's runs: active ones, then the newest, behind the page with this `after`."""

    route: str
    status: RunStatus | None = None
    after: str = ""
    limit: int = PAGE


class AnswerRow(msgspec.Struct, frozen=True):
    """More of a run that is an answer of a model route: its model, tokens and stream's `route`."""

    route: str
    model: str | None
    input_tokens: int | None
    output_tokens: int | None


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run as one process knows it. Times are epoch seconds; None is what is not known.

    This process has stored `items`, with `seen_bytes` of the stream's `size`; `first_items` of them
    came with the first one of the source. `counted` are all items, where the log tells that.
    """

    name: str  # below the prefix of its stream's route
    status: RunStatus
    error: str | None = None
    created_at: int | None = None  # in whole seconds, by the log
    started_at: float | None = None
    first_item_at: float | None = None
    last_item_at: float | None = None
    ended_at: float | None = None
    items: int = 0
    first_items: int = 0
    seen_bytes: int = 0
    size: int = 0
    counted: int | None = None
    answer: AnswerRow | None = None

    @property
    def rank(self) -> RunRank:
        """The run's place in the sorted list."""
        return RunRank.of(self.status, self.created_at, self.name)


class RunRank(NamedTuple):
    """The sort key of a run in the list: first the runs that go on, then the newest."""

    is_over: bool
    minus_created_at: int
    name: str

    @classmethod
    def of(cls, status: RunStatus, created_at: int | None, name: str) -> RunRank:
        """Return the rank of a run."""
        return cls(status != "active", -(created_at or 0), name)

    @classmethod
    def parsed(cls, after: str) -> RunRank:
        """Parse the value of `after` that a page had. Raises BadRequest."""
        found = re.fullmatch(r"([01]):([0-9]{1,20}):(.*)", after, re.DOTALL)
        if found is None:
            raise BadRequest("after is not where a page of this order ended")
        return cls(found[1] == "1", -int(found[2]), found[3])

    @property
    def after(self) -> str:
        """Return the value of `after` that requests the page behind this run."""
        return f"{int(self.is_over)}:{-self.minus_created_at}:{self.name}"


class RunPage(msgspec.Struct, tag=True, frozen=True):
    """Runs, and where the next page begins; None when there is none."""

    rows: tuple[RunRow, ...]
    after: str | None = None
    is_cut: bool = False  # True if the log has more streams than were looked at for runs


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


class ListRefusals(msgspec.Struct, tag=True, frozen=True):
    """A question for the newest responses with 4xx or 5xx."""


class RefusedRequest(msgspec.Struct, frozen=True):
    """A response with 4xx or 5xx. `detail` is the sentence that the client got.

    It is empty for an origin's response, whose body is passed on unread.
    """

    at: float  # epoch seconds
    request_id: str
    route: str  # its prefix; empty where there is none
    status: int
    detail: str
    client: str | None  # its address; None for who may not see it
    count: int = 1  # of equal ones, of which this is the newest


class RefusalList(msgspec.Struct, tag=True, frozen=True):
    """The newest refusals of a process, the newest first."""

    rows: tuple[RefusedRequest, ...]


class ShareMetrics(msgspec.Struct, tag=True, frozen=True):
    """Leave a gateway's figures where others that share a log find them, and bring theirs."""

    instance: str  # of the gateway that asks
    figures: str  # JSON, which the log does not look into


class PeerMetrics(msgspec.Struct, tag=True, frozen=True):
    """The figures that other gateways left in the last seconds, by instance.

    `is_whole` is False if a log could not be asked, so that some may be missing.
    """

    figures: dict[str, str]
    is_whole: bool = True


class TakeEvents(msgspec.Struct, tag=True, frozen=True):
    """Take the events of each process, and let it forget those that were taken before."""

    after: dict[str, int]  # the last sequence that was taken, by process


class ListTokens(msgspec.Struct, tag=True, frozen=True):
    """A question for the tokens in force whose names contain a text, a page of them, by name."""

    text: str = ""
    after: str = ""
    limit: int = PAGE


class GrantRow(msgspec.Struct, frozen=True):
    """Operations that a token permits on some streams."""

    streams: str
    operations: tuple[str, ...]


class TokenUse(msgspec.Struct, frozen=True):
    """The use of a holder's tokens in one process, or in all, since the start.

    `refused` are requests whose token was revoked or had expired, `forbidden` those for which its
    grants did not suffice.
    """

    used_at: float | None = None  # epoch seconds of the last request
    refused: int = 0
    forbidden: int = 0


class StaticTokenRow(msgspec.Struct, frozen=True):
    """A token of the tokens_file, without its hash."""

    name: str
    grants: tuple[GrantRow, ...]  # the first of them
    grants_in_all: int
    expires_at: float | None  # epoch seconds
    is_revoked: bool
    use: TokenUse = TokenUse()


class SignedTokenRow(msgspec.Struct, frozen=True):
    """A holder of read tokens or JWTs. `subject` is None where it is too long or unprintable."""

    kind: str
    account: str
    name: str
    issuer: str
    subject: str | None
    use: TokenUse


class TokenKeyRow(msgspec.Struct, frozen=True):
    """A source of keys that verify tokens: the keys_file, or that of an issuer.

    `signs` is the id of the key that signs read tokens here.
    """

    kind: str
    issuer: str
    audience: str
    source: str
    algorithms: tuple[str, ...]
    kids: tuple[str, ...]
    signs: str = ""


class RevocationRow(msgspec.Struct, frozen=True):
    """A revocation in force; `kind` is name, jti, sub or kid."""

    kind: str
    value: str
    before: float | None = None  # epoch seconds; of a subject's tokens only those issued earlier


class TokenPage(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Tokens of the tokens_file, and where the next page begins; the newest users of signed ones.

    `unknown` are refused tokens whose holder nobody knows.
    """

    tokens: tuple[StaticTokenRow, ...] = ()
    after: str | None = None
    tokens_in_all: int = 0
    signed: tuple[SignedTokenRow, ...] = ()
    keys: tuple[TokenKeyRow, ...] = ()
    revocations: tuple[RevocationRow, ...] = ()  # the first of them
    revocations_in_all: int = 0
    unknown: int = 0


class AnswerFailure(msgspec.Struct, tag=True, frozen=True):
    """The reason for no answer: there is no such stream, the log is away, and so on."""

    status: int  # as HTTP would say it
    reason: str


StreamQuestion = (
    ListStreams
    | DescribeStream
    | LimitStream
    | ListRuns
    | ExplainRequest
    | ListRefusals
    | ListTokens
    | ShareMetrics
    | TakeEvents
)
Question = StreamQuestion | ReaderQuestion | SubscriptionQuestion
Answer = (
    StreamPage
    | StreamDescription
    | ReaderAnswer
    | SubscriptionAnswer
    | RunPage
    | Explanation
    | RefusalList
    | TokenPage
    | PeerMetrics
    | ProcessEvents
    | AnswerFailure
)
