"""Searches of streams, the messages of one, and the runs of a route."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headgate_gateway.features.questions.runs import AnswerRow, RunStatus
from headgate_gateway.features.questions.streams import LARGEST_PAGE, PAGE, StreamOrder, StreamPage

MOST_MESSAGES = 200  # of a page
USUAL_MESSAGES = 50

PageLimit = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)]
ExplainedMethod = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
Target = Annotated[str, msgspec.Meta(max_length=8192)]


class StreamSearch(msgspec.Struct, frozen=True):
    """The streams of a route whose names begin with `begins`, have `contains` and are like `glob`.

    Empty conditions hold for every name. A search for `contains` or `glob` compares all names, for
    3 s at most. A page can be short: go on from `after` until it is null.
    """

    route: str
    begins: str = ""
    contains: str = ""
    glob: str = ""
    order: StreamOrder = "name"
    after: str = ""
    limit: PageLimit = PAGE


class StreamSums(msgspec.Struct, frozen=True):
    """The sums of a route's streams; None is what its storage or origin does not tell."""

    streams: int | None
    size: float | None  # bytes that its storage takes
    growth: float | None  # bytes of bodies received in the last hour
    rate: float | None  # appends a second now
    readers: float | None  # live


class SummedStreamPage(StreamPage, tag="StreamPage", frozen=True):
    """A page of a route's streams, and the sums of all of them."""

    sums: StreamSums | None = None


class OfStream(msgspec.Struct, frozen=True):
    """A stream: the prefix of its route, and its name, percent-encoded as in its URL."""

    route: str
    name: str


class OfMessages(OfStream, frozen=True):
    """Messages from a place on, all or those with a text. `latest` stands for the last ones."""

    offset: str = "-1"
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_MESSAGES)] = USUAL_MESSAGES
    text: str = ""

    @property
    def place(self) -> MessagePlace:
        """The place of the first one."""
        return MessagePlace(self.offset, self.skip)


class OfTail(OfStream, frozen=True):
    """The messages after an offset; a Last-Event-ID takes precedence over it."""

    offset: str = "now"


class OfRuns(msgspec.Struct, frozen=True):
    """A page of a route's runs, all or those with a status."""

    route: str
    status: RunStatus | None = None
    after: str = ""
    limit: PageLimit = PAGE


class RequestToExplain(msgspec.Struct, frozen=True):
    """A request to be explained: a URL or a path, and its headers."""

    url: Target
    headers: Annotated[tuple[tuple[str, str], ...], msgspec.Meta(max_length=100)] = ()
    method: ExplainedMethod = "GET"


class RunView(msgspec.Struct, frozen=True):
    """A run of an application. Figures are None where this gateway has not seen all of it.

    `items_per_second` counts from the first item on, which came `first_item_after` its start.
    """

    name: str  # below the prefix of its stream's route
    status: RunStatus
    error: str | None
    started_at: float | None
    lasted: float | None
    first_item_after: float | None
    items: int | None
    items_per_second: float | None
    answer: AnswerRow | None = None


class RunsView(msgspec.Struct, frozen=True):
    """A page of a route's runs: those that go on, then the newest.

    `after` is where the next page begins. `is_cut` says that the route has more streams than were
    looked at, so that runs from before the gateway's start may be missing.
    """

    runs: tuple[RunView, ...]
    after: str | None = None
    is_cut: bool = False


class MessagePlace(msgspec.Struct, frozen=True):
    """The place where messages begin: `skip` messages after an offset, as a response has many."""

    offset: str
    skip: int = 0


class ShownMessage(msgspec.Struct, frozen=True):
    """A message of a JSON stream, or a piece of any other.

    `text` is its content if that is text, else None, and `data` are its bytes. Both are cut if
    `truncated`. The protocol has offsets between responses, and not between the messages of one.
    They are known where each message is a record of a log of Headgate, and otherwise before the
    first message of a response and after its last one.
    """

    size: int  # bytes, uncut; of a message that is too long to be read, those that were read
    text: str | None
    data: bytes | None
    truncated: bool = False
    next_offset: str | None = None
    offset: str | None = None  # at which the message begins


class Messages(msgspec.Struct, frozen=True):
    """Messages of a stream from a place on, and the place of those after them.

    `behind` is None at the tail; `tail` is then the offset from which a live tail goes on.
    """

    content_type: str
    begin: MessagePlace
    messages: tuple[ShownMessage, ...]
    behind: MessagePlace | None
    tail: str | None
    closed: bool = False  # and this is its end
    searched: int | None = None  # messages that a search has looked at
