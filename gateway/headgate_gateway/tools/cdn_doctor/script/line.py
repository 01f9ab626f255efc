"""Define a line of the conversation, and what the lines of all parts use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate.names import (
    PRODUCER_EPOCH,
    PRODUCER_ID,
    PRODUCER_SEQ,
)
from headgate_gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET, UP_TO_DATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.tools.cdn_doctor.finding import Advice, Check

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ETAG, TYPE, ENCODING = "ETag", "Content-Type", "Content-Encoding"
ANY = "*"  # a value of a field that nobody can foresee
SHORT = "?"  # a lifetime that browsers may use for what changes
LIFETIME = {"Cache-Control": SHORT}
ABSENT = ""  # a field that must not be there
IF_ANY = "~"  # before a value that a field has at some servers
OTHERS = "!"  # before a value that a field must not have
HERE = "@"  # a URL that leads to the host of the request, where there is one
# The streams of the conversation, of which the last is there before it, and closed.
HTML, JSON, DATED, MANY, BYTES = "-html", "-json", "-dated", "-many", "-bytes"
MADE = (HTML, JSON, DATED, MANY)
LIFETIME_S, OTHER_LIFETIME_S = "3600", "7200"
SEQ = "Stream-Seq"
# bytes; hops compress from 1,000 on
_LONG = b"<p>as long as a hop wants it to be compressed</p>\n" * 40
# What hops change in pages or take for an attack: links, scripts, spaces, entities, line ends.
PAGE = (
    b"<!doctype html>\n<html><head><title>1' OR '1'='1</title></head>\r\n<body>  \n"
    b"<script>alert(1)</script><!-- a comment --><a href='http://example.com/'>&nbsp;</a>\n"
    + _LONG
    + b"</body></html>\n"
)
NEWS, OTHER_NEWS = b"<p>news</p>", b"<p>the end</p>"
# What programs change that read JSON and write it again: numbers, escapes and spaces.
MESSAGE = b'{"n": 12345678901234567890, "f": 1.0, "s": "\\u00e4 \\/", "spaces" : [ ] }'
PLAIN_MESSAGE = b'{"a":"' + b"as long as a hop wants it " * 60 + b'"}'


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """A request, the response to it, and the check that fails where that is another one."""

    name: str
    method: str
    stream: str
    query: str = ""
    sends: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    status: tuple[int, ...] = (200,)
    has: Mapping[str, str] = field(default_factory=dict)
    # The body, or what it has to contain.
    gives: bytes | tuple[bytes, ...] | None = None
    # Names of fields whose values later lines use.
    keeps: Mapping[str, str] = field(default_factory=dict)
    # The check that another status or body fails, and what that means if the sentence is not clear.
    check: Check = "statuses"
    means: str = ""
    advice: Advice | None = None
    # The field of the request that has not arrived if the status is a good one, but another.
    shows: str = ""
    after_s: float = 0.0
    is_of_headgate: bool = False

    @property
    def is_needed(self) -> bool:
        """True if nothing that follows can be judged at another status."""
        return self.name in NEEDED

    @property
    def is_live(self) -> bool:
        """True if the server waits for data where there is none."""
        return "live=" in self.query


def producer(epoch: int, seq: int) -> dict[str, str]:
    """Return the fields of an append of a producer."""
    stamp = {PRODUCER_EPOCH: str(epoch), PRODUCER_SEQ: str(seq)}
    return {TYPE: "text/html", PRODUCER_ID: "doctor", **stamp}


OF_HTML = {TYPE: "text/html"}
TAIL = {NEXT_OFFSET: "{tail}", UP_TO_DATE: "true", TYPE: "text/html", ETAG: ANY}
PROBLEM = {TYPE: "application/problem+json"}
# Of a page of another site, whose own fields the response has to have.
OF_PAGE = {"Origin": "{site}"}
FOR_PAGE = {ALLOW_ORIGIN: "{allowed}"}
IS_CLOSED = {CLOSED: "true", NEXT_OFFSET: "{news}"}
A_READ, A_READ_ON = "a read", "a read at the Stream-Next-Offset of an append"
NEEDED = {A_READ, A_READ_ON}
# A tail may be kept for a second, of which nginx makes two.
LOOK_S = 2.5
