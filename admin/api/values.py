"""Queries, bodies and responses of the API, as values."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from typing_extensions import override

from admin.cdn import Choice, Entered
from admin.model.kinds import Span
from admin.model.overview import RouteView
from admin.streams.messages import MOST_MESSAGES, USUAL_MESSAGES
from gateway.features.issued_tokens import LONGEST_SUBJECT
from gateway.features.questions.runs import RunStatus
from gateway.features.questions.streams import LARGEST_PAGE, PAGE, StreamOrder
from gateway.features.tokens_file_changes import LONGEST_VALUE, RevocationKind
from gateway.settings.grants import Operation

LAST_MOMENT = 253_402_300_799  # the year 9999, which is the last that TOML has

Target = Annotated[str, msgspec.Meta(max_length=8192)]


class OfSpan(msgspec.Struct, frozen=True):
    """The last 15 minutes to 24 hours."""

    span: Span = "15m"


class OfRoute(msgspec.Struct, frozen=True):
    """The streams of a route whose names begin with `begins`, have `contains` and are like `glob`.

    Empty conditions hold for every name. A search for `contains` or `glob` compares 100,000 names
    for each page at most, so that a page can be short, or empty: go on from `after` until it is
    null.
    """

    route: str
    begins: str = ""
    contains: str = ""
    glob: str = ""
    order: StreamOrder = "name"
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)] = PAGE


class OfRuns(msgspec.Struct, frozen=True):
    """A page of a route's runs; with a status of those that are so."""

    route: str
    status: RunStatus | None = None
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)] = PAGE


class OfStream(msgspec.Struct, frozen=True):
    """A stream: the prefix of its route, and its name, percent-encoded as in its URL."""

    route: str
    name: str


class OfMessages(msgspec.Struct, frozen=True):
    """Messages from a place on. The offset `latest` stands for the last ones."""

    route: str
    name: str
    offset: str = "-1"
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_MESSAGES)] = USUAL_MESSAGES


class OfSearch(OfMessages, frozen=True):
    """Messages from a place on that have a text in them."""

    text: str = ""


class OfTail(msgspec.Struct, frozen=True):
    """The messages after an offset; a Last-Event-ID takes precedence over it."""

    route: str
    name: str
    offset: str = "now"


class Routes(msgspec.Struct, frozen=True):
    """Every route, in the order in which they are tried."""

    routes: tuple[RouteView, ...]


class SignInBody(msgspec.Struct, frozen=True):
    """A name and its password."""

    name: str
    password: str


class RequestToExplain(msgspec.Struct, frozen=True):
    """A request to be explained: a URL or a path, and its headers."""

    url: Target
    headers: Annotated[tuple[tuple[str, str], ...], msgspec.Meta(max_length=100)] = ()
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] = "GET"


class OfCdnFile(Choice, frozen=True, kw_only=True):
    """A target, and what is chosen of its options."""

    target: Entered


class AppendBody(msgspec.Struct, frozen=True):
    """Text to be appended to a stream; without a content type that of the stream is taken."""

    route: str
    name: str
    data: str
    content_type: str = ""


class ChangeMade(msgspec.Struct, frozen=True):
    """A change was made; the stream's next offset."""

    next_offset: str


class Stopping(msgspec.Struct, frozen=True):
    """True if the run has a producer, which was asked to stop."""

    is_asked: bool


class TokenWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A read token for one stream, or with `/*` at the end of `streams` for all below a path.

    `subject` is whom it is for, `lifetime` in seconds; by default 900, or the longest there is.
    """

    subject: Annotated[str, msgspec.Meta(max_length=LONGEST_SUBJECT)]
    streams: Target
    operations: Annotated[tuple[Operation, ...], msgspec.Meta(min_length=1, max_length=5)] = (
        "read",
    )
    lifetime: Annotated[int, msgspec.Meta(ge=1)] | None = None


class ReadToken(msgspec.Struct, frozen=True):
    """A token, when it expires (epoch seconds), and the id by which it can be revoked.

    `cookie` is the value of a Set-Cookie with it, empty where no cookie can be for its streams.
    """

    token: str
    expires: int
    jti: str
    cookie: str

    @override
    def __repr__(self) -> str:
        return f"ReadToken(jti={self.jti!r})"


class KeyRotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The streams whose keys are rotated: one, or with `/*` at the end all below a path."""

    streams: Target


class RotatedKeys(msgspec.Struct, frozen=True):
    """The new version of streams' reader keys, by which all gateways go within a second."""

    streams: str
    version: int


class OfTokens(msgspec.Struct, frozen=True):
    """A page of the static tokens whose names contain a text, and the newest users of others."""

    text: str = ""
    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)] = PAGE


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens to revoke: static ones by name, signed ones by jti, sub or the kid of their key.

    With `before` (epoch seconds), only tokens of a subject that were issued earlier.
    """

    kind: RevocationKind
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_VALUE)]
    before: Annotated[int, msgspec.Meta(ge=0, le=LAST_MOMENT)] | None = None


class RevokedTokens(msgspec.Struct, frozen=True):
    """The lines that were added to the tokens_file; sentences on caches that still give answers."""

    added: str
    warnings: tuple[str, ...]


class Problem(msgspec.Struct, frozen=True):
    """A description of what went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
