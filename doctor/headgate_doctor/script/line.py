"""Define a line of the conversation, and what the lines of all parts use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate.names import (
    CLOSED,
    NEXT_OFFSET,
    PRODUCER_EPOCH,
    PRODUCER_ID,
    PRODUCER_SEQ,
    UP_TO_DATE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_doctor.finding import Advice, Check

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
ETAG, TYPE, ENCODING = "ETag", "Content-Type", "Content-Encoding"
# Marks in place of the value of a field.
ANY = "*"  # any value
SHORT = "?"  # a Cache-Control with which browsers store the response for a minute at most
ABSENT = ""  # the field must not be there
IF_ANY = "~"  # before a value: the field may be missing
OTHERS = "!"  # before a value: the field must have another one
HERE = "@"  # if the field is there, a URL at the host of the request
LIFETIME = {"Cache-Control": SHORT}
# The ends of the streams' names. The last one is made before the conversation, and closed.
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
    """A request, the response that it should get, and the check that fails if it gets another."""

    # As the subject of a sentence: "a read has no ETag".
    name: str
    method: str
    # One of MADE, or BYTES.
    stream: str
    # In `query`, `sends` and `has`, `{tail}` stands for what an earlier line keeps as `tail`.
    query: str = ""
    sends: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    status: tuple[int, ...] = (200,)
    # The fields of the response, with their values, or one of the marks above.
    has: Mapping[str, str] = field(default_factory=dict)
    # The whole body of the response, or parts that it has to contain.
    gives: bytes | tuple[bytes, ...] | None = None
    # Fields of the response whose values later lines use, by the name that these use.
    keeps: Mapping[str, str] = field(default_factory=dict)
    # The check that fails at another status or body, and the cause if the sentence does not say it.
    check: Check = "statuses"
    means: str = ""
    advice: Advice | None = None
    # The field for which the server refuses the request. If that succeeds, the field was lost.
    tested_field: str = ""
    # Wait for so long before the request.
    after_s: float = 0.0
    # Other servers may respond in another way: the line is skipped there.
    needs_headgate: bool = False

    @property
    def is_needed(self) -> bool:
        """True if another status ends the conversation: no later response could be judged."""
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
# A copy that reached the tail may be kept for a second. nginx, which counts whole ones, makes
# almost two of it. Checks read once after this time: a first read that gets a stale response would
# have the copy renewed, so that a second one would not show the fault.
LOOK_S = 2.5
