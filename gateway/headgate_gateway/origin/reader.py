"""aiohttp's parser of responses, fed with heads and bodies one by one.

So what comes after a response is separated from the response itself: the parser would refuse both
at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiohttp.http import HttpResponseParser
from aiohttp.http_exceptions import HttpProcessingError

from headgate_gateway.origin.heads import HEAD_BYTES

if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from aiohttp import StreamReader
    from aiohttp.http import RawResponseMessage

GATHERED_BYTES = 1 << 20  # of a body that is passed on whole; what is longer is passed on in parts
HEADER_LINES = 256
HEAD_END = b"\r\n\r\n"


class ParsedHead(NamedTuple):
    """The head of a response, after which `rest` has come, and its body, which is to be fed."""

    message: RawResponseMessage
    content: StreamReader
    data: bytes  # the bytes of the head
    rest: bytes
    has_more: bool  # another response has come with it


class ResponseReader:
    """The parser of the responses on one connection.

    `protocol` has the methods that aiohttp's StreamReader calls to pause and resume reading.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:  # noqa: ANN401 - aiohttp's class has more than is used
        self._loop = loop
        self._protocol = protocol
        self._parser: HttpResponseParser | None = None  # one that has read to an end
        self.came = b""  # of a head that is not complete

    def feed_head(self, data: bytes) -> ParsedHead | None:
        """Read bytes of a head, after interim responses; return None while it is not complete.

        Raises HttpProcessingError for what is not HTTP.
        """
        parser = self._parser
        if parser is None:
            parser = self._parser = HttpResponseParser(
                self._protocol,
                self._loop,
                GATHERED_BYTES // 2,  # twice as much is not read before somebody takes it
                max_line_size=HEAD_BYTES,
                max_field_size=HEAD_BYTES,
                max_headers=HEADER_LINES,
                read_until_eof=True,
                auto_decompress=False,
            )
        while data:
            ends = self._end_of_head(data)
            self.came += data[:ends]
            messages, _, _ = parser.feed_data(data[:ends])
            data = data[ends:]
            final = [one for one in messages if not _is_interim(one[0].code)]
            if final:
                (message, content), head, self.came = final[0], self.came, b""
                return ParsedHead(message, content, head, data, len(final) > 1)
            if messages:
                self.came = b""
            elif len(self.came) > 2 * HEAD_BYTES:
                raise HttpProcessingError(message="the head is too long")
        return None

    def _end_of_head(self, data: bytes) -> int:
        """Return where the head ends in the next bytes; their length if it is not complete."""
        begun = self.came[1 - len(HEAD_END) :]
        at = (begun + data).find(HEAD_END)
        return len(data) if at < 0 else at + len(HEAD_END) - len(begun)

    def feed_body(self, data: bytes) -> bool:
        """Read bytes after a head; return whether another response has come with them.

        Raises HttpProcessingError.
        """
        assert self._parser is not None, "it has read the head"
        more, _, _ = self._parser.feed_data(data)
        return bool(more)

    def is_at_end(self) -> bool:
        """Return whether a response may end with its connection, and end its body if so."""
        try:
            if self._parser is not None:
                self._parser.feed_eof()
        except HttpProcessingError:
            return False
        return True

    def forget(self) -> None:
        """Begin the next response anew: this one has no body, whatever its head announces."""
        self._parser, self.came = None, b""


def _is_interim(status: int) -> bool:
    """Return whether another head follows (RFC 9110, section 15.2); 101 ends HTTP."""
    return 100 <= status < 200 and status != 101
