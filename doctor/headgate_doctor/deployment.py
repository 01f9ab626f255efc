"""The deployment under examination, and the first two reads, which say what is before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate_doctor.evidence import AnswerSource, source

if TYPE_CHECKING:
    from headgate_doctor.probe_sender import ProbeReply, ProbeSender
    from headgate_doctor.streams import OwnStream, OwnStreams

DATA = b"headgate doctor\n"
# A cursor says nothing in a catch-up read, and is a second parameter whose place can change.
CURSOR = "1"
# So many find each of two servers that are asked in turn, and of a few that are asked by chance.
MORE_READS = 6


@dataclass(frozen=True, slots=True)
class TwoReads:
    """The replies to two equal reads of a closed stream, which never change."""

    own: OwnStream
    first: ProbeReply
    again: ProbeReply
    # Further ones, where a read or the append found no stream.
    more: tuple[ProbeReply, ...] = ()
    # Whether the close of the stream was acknowledged.
    is_closed: bool = True
    # Whether the server refused the close as an empty append: its Stream-Closed did not arrive.
    is_close_lost: bool = False

    @property
    def refusal(self) -> str:
        """The words of the server if it refused one of the reads, else ""."""
        return self.first.error_text or self.again.error_text

    @property
    def appends_arrive(self) -> bool:
        """True if the appended data is there; otherwise appends show nothing."""
        return self.first.body == DATA

    @property
    def is_doubled(self) -> bool:
        """True if data that was appended once is there twice."""
        return self.first.body == DATA + DATA

    @property
    def missed(self) -> int:
        """The number of reads that found no stream although another read found it."""
        statuses = [reply.status for reply in (self.first, self.again, *self.more)]
        return statuses.count(404) if any(200 <= status < 300 for status in statuses) else 0

    @property
    def is_cached(self) -> bool | None:
        """True if a cache before the server stores replies; None if that is unknown."""
        made = source(self.again)
        return None if made is AnswerSource.UNKNOWN else made is AnswerSource.SHARED


async def read_twice(
    own: OwnStream, *, is_missing: bool = False, is_closed: bool = True, is_close_lost: bool = False
) -> TwoReads:
    """Read the same twice, and further where the stream is missing.

    `is_missing` says that an append has found no stream, `is_closed` that one has closed it, and
    `is_close_lost` that its Stream-Closed did not arrive.
    """
    query = {"cursor": CURSOR, "offset": own.start}
    first, again = await own.read(query), await own.read(query)
    more: tuple[ProbeReply, ...] = ()
    if is_missing or 404 in {first.status, again.status}:
        others = [{"cursor": f"1{turn}", "offset": own.start} for turn in range(MORE_READS)]
        more = tuple([await own.read(query) for query in others])
    return TwoReads(own, first, again, more, is_closed, is_close_lost)


@dataclass(frozen=True, slots=True)
class ExaminationOptions:
    """Options of an examination, and facts about the deployment that the caller knows."""

    # The Authorization of a reader that may not write, or None.
    reader: str | None = None
    # The digest that responses of the deployed file should have, or None.
    rendered: str | None = None
    # One or two web origins whose pages may read, or none that are known.
    origins: tuple[str, ...] = ()


DEFAULTS = ExaminationOptions()


@dataclass(frozen=True, slots=True)
class Deployment:
    """A server and what is in front of it."""

    asker: ProbeSender
    streams: OwnStreams
    reads: TwoReads
    options: ExaminationOptions = DEFAULTS
