"""The requests that answer a follower's question, and what the origin's answers mean.

A question takes one request as a rule, and more where data are compared. It is written as steps: a
generator yields each request, and is sent the answer or thrown the error. `following` makes them.
"""

from __future__ import annotations

import contextlib
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict

from headgate_gateway.edge.followed.comparison import ANOTHER, SAME, SHORTER, UNFINISHED, compare
from headgate_gateway.edge.followed.origin_reads import (
    DENIALS,
    FOR_ONE_READER,
    CannotFollow,
    PollQuestion,
    PollResult,
    refuse,
)
from headgate_gateway.errors import OriginBehind, OriginBroken, OriginBusy, StreamGone
from headgate_gateway.origin.requests import field_block
from headgate_gateway.protocol.http.header_names import CLOSED, CURSOR, NEXT_OFFSET, UP_TO_DATE
from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW, is_plain
from headgate_gateway.rules import edge_target, followed, repair
from headgate_gateway.rules.directives import again_s
from headgate_gateway.rules.followed import Span
from headgate_gateway.rules.read_rules import ANOTHER_STREAM, PERSISTS_S
from headgate_gateway.rules.response_rules import is_for_one_client
from headgate_gateway.rules.served_lifetimes import shorten

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator
    from typing import TypeAlias

    from multidict import MultiMapping

    from headgate_gateway.edge.followed.comparison import Comparison, Known
    from headgate_gateway.edge.followed.evidence import StreamEvidence
    from headgate_gateway.edge.followed.known_state import KnownState
    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.origin.client import Origin
    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.protocol.http.forwarding import IdentityHeaders
    from headgate_gateway.rules.cached_response import CacheRequest

    Steps: TypeAlias = "Generator[PollerRequest, OriginAnswer, PollResult]"
    PossibleSteps: TypeAlias = "Generator[PollerRequest, OriginAnswer, PollResult | None]"


ANSWERS = frozenset({200, 204})  # statuses of answers whose bodies are read
UNKNOWN_OFFSET = frozenset({400, 416})  # statuses by which servers refuse an offset past their tail
MOST_PARTS = 64  # answers that are compared as one: COMPARED_BYTES in parts of a kilobyte
CHANGING = "the origin's servers change while they are asked what they have"
MOST_DOUBTS = 3  # in a row, while one question is asked


class PolledOrigin(NamedTuple):
    """A route's origin, and how its cache directives are interpreted.

    `comparisons` counts the verdicts on followed streams that were in doubt.
    """

    client: Origin
    identity: IdentityHeaders
    freshness: Freshness
    comparisons: Counter[str]


class PollerRequest(NamedTuple):
    """A GET of a target with the header lines of a reader; a long-poll if it `waits`."""

    lines: bytes
    target: str
    waits: bool


class Poller:
    """The questions to the origin about one followed stream, one request after the other."""

    def __init__(self, origin: PolledOrigin, state: KnownState, evidence: StreamEvidence) -> None:
        self._origin = origin
        self._state = state
        self._requests = state.requests
        self._content_type = state.snapshot.content_type
        self._evidence = evidence
        self._key = state.requests.current.stream_key
        self.verification = state.verification
        self._window = state.verification.window
        # The header lines of the latest request, which nearly always is used again.
        self._lines: tuple[CacheRequest | None, bytes] = None, b""

    def steps_to_answer(self, question: PollQuestion) -> Steps:
        """Return the answer to a question; a character that its end cuts is completed.

        Raises CannotFollow, or the HeadgateError of a failure that may pass.
        """
        for _ in range(MOST_DOUBTS):
            polled = yield from self._ask_once(question)
            completed = None if polled is None else (yield from self._completed(polled))
            if completed is not None:
                return completed
        raise OriginBusy(CHANGING)

    def _ask_once(self, question: PollQuestion) -> PossibleSteps:
        """Return the answer to a question, or None if a doubt has come up."""
        has_to_compare = self.verification.is_in_doubt
        if has_to_compare:
            found = yield from self._compare_known(question)
            if found is not None and not (question.waits and _is_waiting(question, found)):
                return found
            if self.verification.is_in_doubt:
                return None  # a poll may take long, and no reader could go on meanwhile
        polled = yield from self._fetch(question)
        is_nothing = repair.is_nothing(polled.content_type, polled.body)
        if question.waits and polled.end != question.start and is_nothing:
            # Data that came between the end of the origin's wait and its answer are counted in the
            # answer's offset, but are not in its body.
            polled = yield from self._fetch(question._replace(waits=False))
        if self.verification.is_in_doubt:
            return None
        self.verification.mark_caught_up()
        return polled

    def _completed(self, polled: PollResult) -> PossibleSteps:
        """Return an answer with the rest of the character that its end cuts.

        None if a doubt came up: what is known is compared first, and the answer fetched again.
        """
        for _ in range(followed.MOST_JOINED):
            if polled.caught_up or not followed.is_cut(polled.content_type, polled.body):
                break
            more = yield from self._fetch(PollQuestion(polled.end, polled.cursor, waits=False))
            if self.verification.is_in_doubt:
                return None
            polled = more._replace(
                body=polled.body + more.body,
                content_type=polled.content_type,
                directives=polled.directives if more.directives is None else more.directives,
            )
        return polled

    def _compare_known(self, question: PollQuestion) -> PossibleSteps:
        """Return what follows the question's start, once the data before it are found unchanged.

        Return None if no data are known: nothing can be joined wrongly then.
        """
        doubts = self.verification.doubts
        known = self._window.newest or self._evidence.up_to(self._key, question.start)
        if known is None:
            # A server may echo any offset past its tail, but to `now` it gives its real tail.
            end = question.start
            with contextlib.suppress(CannotFollow):  # not every origin knows `now`
                now = yield from self._fetch(PollQuestion(NOW, None, waits=False), compares=True)
                end = now.end
            if end < question.start:
                raise self.verification.note_shorter(end)
            yield from self._check_others("", question.start)
            self._settle(doubts)
            return None
        finding, polled = yield from self._read_again(known)
        self._origin.comparisons[finding.verdict] += 1
        if finding.verdict == SAME:
            yield from self._check_others(known.end, known.end)
            self._settle(doubts)
            return polled._replace(body=finding.rest)
        common, held = self._window.offsets_beyond(known.start, finding.common)
        if finding.verdict == SHORTER:
            if finding.common:  # else nothing shows that it is the beginning of what is known
                common, held = max(common, polled.end), held - {polled.end}
            self.verification.lost = common, held
            raise self.verification.note_shorter(polled.end)
        self.verification.lost = common, held
        raise CannotFollow(StreamGone(ANOTHER_STREAM))

    def _check_others(
        self, common: str, beyond: str
    ) -> Generator[PollerRequest, OriginAnswer, None]:
        """Refuse the offsets of clients whose reads went beyond the feed, if the data are lost.

        Reads that another server has answered are compared, too: the latest one of each server.
        """
        compared = {self.verification.server, self.verification.answered_by}
        for read in sorted(self._evidence.of(self._key), key=attrgetter("end"), reverse=True):
            is_beyond = read.end > beyond or (read.end == beyond and not common)
            if not is_beyond and read.server in compared:
                continue
            end, verdict = "", ANOTHER
            with contextlib.suppress(CannotFollow):  # its start may not be an offset of the stream
                finding, polled = yield from self._read_again(read, self.verification.answered_by)
                end, verdict = polled.end, finding.verdict
            is_late = self._evidence.clock() - read.read_at < PERSISTS_S
            if verdict == SHORTER and is_beyond and is_late:  # as a replica that lags
                behind = self.verification.note_shorter(end)
                if isinstance(behind, OriginBehind):
                    raise behind
            if verdict != SAME:
                self._evidence.lose_read(self._key, common if is_beyond else None, read)
                if read.end == beyond and not common:  # its reader may wait in the feed by now
                    raise CannotFollow(StreamGone(ANOTHER_STREAM))
            else:
                server = self.verification.answered_by
                self._evidence.confirm(self._key, read.end, read.server, server)
                compared.add(server)

    def _settle(self, doubts: int) -> None:
        """End the first `doubts` doubts: the server that has just answered has the known data."""
        verified = self.verification
        before = verified.settle(doubts)
        self._evidence.confirm(self._key, self._window.tail, before, verified.server)
        if not verified.is_in_doubt:
            verified.on_settled()

    def _read_again(
        self, known: Known, server: str = ""
    ) -> Generator[PollerRequest, OriginAnswer, tuple[Comparison, PollResult]]:
        """Compare known data with what the origin has there now, in as many answers as it takes.

        All of the answers have to come from one server: from `server` unless that is "".
        """
        read = Span(known.start, known.start, b"")
        for _ in range(MOST_PARTS):
            polled = yield from self._fetch(
                PollQuestion(read.end, None, waits=False), compares=True
            )
            server = server or self.verification.answered_by
            if server != self.verification.answered_by:
                break
            is_tail = polled.caught_up or polled.end == read.end
            spans = [Span(read.end, polled.end, polled.body)]
            read = followed.joined(self._content_type, [read, *spans] if read.body else spans)
            read = read._replace(start=known.start)
            finding = compare(self._content_type, known, read, is_tail=is_tail)
            if finding.verdict != UNFINISHED:
                return finding, polled
        raise OriginBusy("the origin has not answered as a whole what it has of the stream")

    def _fetch(self, question: PollQuestion, *, compares: bool = False) -> Steps:
        """Return the answer to a request with any credentials that the origin accepts.

        A request that `compares` cannot put the followed stream in doubt.
        """
        while True:
            request = self._requests.current
            read, start = request.read, question.start
            target = (
                edge_target.poll_target(read, start, question.cursor)
                if question.waits
                else edge_target.catch_up(read, start).target
            )
            latest, lines = self._lines
            lines = lines if latest is request else field_block(request.fields)
            self._lines = request, lines
            answer = yield PollerRequest(lines, target, question.waits)
            verified = self.verification
            if not verified.server and (noted := self._evidence.up_to(self._key, start)):
                verified.server = noted.server  # clients have read up to there meanwhile
            if not compares and (answer.is_repetition or not verified.is_trusted(answer.server)):
                verified.doubt()
            verified.note_answer(answer.server)
            if answer.status in DENIALS and self._requests.replace(request):
                continue
            if answer.status in UNKNOWN_OFFSET and start not in {BEGINNING, NOW}:
                known = self._window.newest
                if known is not None and known.start <= start:  # the origin has shown as much
                    raise verified.note_shorter("")
            if answer.status not in ANSWERS:
                refuse(answer.status, again_s(answer.headers))
            return self._parse(question, answer.status, answer.headers, answer.body or b"")

    def _parse(
        self, question: PollQuestion, status: int, headers: MultiMapping[str], body: bytes
    ) -> PollResult:
        nothing = status == 204
        content_type = "" if nothing else headers.get("Content-Type", "")
        end = headers.get(NEXT_OFFSET, question.start if nothing else "")
        if not is_plain(end) or "Content-Encoding" in headers:
            raise OriginBroken("the origin's answer to a long-poll is none of the protocol")
        if content_type and not followed.is_of_type(content_type, self._content_type):
            raise CannotFollow(StreamGone(ANOTHER_STREAM))
        if not followed.is_whole(content_type, body):
            raise OriginBroken("the origin's answer to a read of a JSON stream is no array")
        try:
            repair.check_end(question.start, end)
        except OriginBehind:
            raise self.verification.note_shorter(end) from None
        is_nothing = repair.is_nothing(content_type, body)
        is_data_for_reader = self._requests.current.admitted_as and not is_nothing
        if is_data_for_reader and is_for_one_client(200, headers, self._origin.identity):
            self._requests.differ = True
            raise CannotFollow(OriginBusy(FOR_ONE_READER))
        directives = None if is_nothing else repair.directive_lines(headers)
        caught_up = nothing or repair.is_true(headers, UP_TO_DATE)
        if directives is not None and caught_up and not question.waits:
            shortened = CIMultiDict(headers)
            freshness = self._origin.freshness
            shorten(shortened, freshness.tail_max_age, freshness.tail_directive)
            self._state.note_directives(repair.directive_lines(shortened))
        return PollResult(
            end,
            headers.get(CURSOR),
            body,
            content_type,
            repair.is_true(headers, CLOSED),
            caught_up,
            directives if question.waits else None,
            repair.cors(headers),
        )


def _is_waiting(question: PollQuestion, polled: PollResult) -> bool:
    """Return whether an answer brings nothing, so that the question has to go out as a poll."""
    return polled.end == question.start and polled.caught_up and not polled.closed
