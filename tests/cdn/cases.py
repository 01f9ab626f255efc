"""The cases of the suite, in the order of the table, with their titles there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.cdn import live_cases, read_cases, sse_cases
from tests.cdn.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cdn.edges import Edge

Case = Callable[["Edge"], Awaitable[Finding]]

FINISHED = "60 finished answers, each read every 2 s for three minutes"

CASES: Mapping[str, Case] = {
    "200 equal polls, ended by an append": live_cases.polls_with_news,
    "200 equal polls, ended by 204": live_cases.polls_without_news,
    "200 readers that follow three appends by long-poll": live_cases.chain,
    "20 equal polls, and the first reader disconnects": live_cases.leader_gone,
    "polls of two users": live_cases.polls_of_users,
    "200 equal polls, each with another cookie": live_cases.polls_with_cookies,
    "a client that ignores cursors gets immediate responses": live_cases.cursors_ignored,
    "20 polls from `offset=now`, and one after the append": live_cases.polls_from_now,
    "200 equal reads of an open stream": read_cases.reads_at_once,
    FINISHED: read_cases.finished_answers,
    "query parameters in another order": read_cases.reordered_query,
    "two users and an anonymous reader": read_cases.users_apart,
    "reads with cookies, and with the reader's cookie": read_cases.credential_cookie,
    "a read and 20 equal polls with the `no-cache` of pages": read_cases.past_browser_caches,
    "HEAD around an append": read_cases.head_around_append,
    "PUT, POST, OPTIONS and DELETE": read_cases.writes,
    "an append of 1.1 MB with `Expect: 100-continue`": read_cases.large_append,
    "time until an append is visible after an empty read": read_cases.empty_tail,
    "`offset=now` around an append": read_cases.now_twice,
    "a stale response while the origin is slow": read_cases.stale_while_revalidate,
    "a copy that is old on its arrival, and its lifetime": read_cases.age,
    "revalidation of a reader's own copy": read_cases.not_modified,
    "282 kB of token events, with gzip": read_cases.compression,
    "`Server-Timing` of two equal reads": read_cases.timing,
    "`/a/b` and `/a%2Fb`": read_cases.encoded_slash,
    "SSE: the first event and a live one": sse_cases.events,
    "100 SSE readers": sse_cases.many_event_readers,
    "SSE: a reader that reconnects": sse_cases.event_reader_resumes,
}
MANY: Mapping[str, Case] = {
    "1,000 equal polls, ended by an append": live_cases.many_polls_with_news,
    "1,000 equal polls, ended by 204": live_cases.many_polls_without_news,
}
"""For those that collapse; for others they would only show what 200 show already."""


def _of(*cases: Case) -> Mapping[str, Case]:
    return {title: case for title, case in CASES.items() if case in cases}


WHOLE: Mapping[str, Case] = {FINISHED: read_cases.finished_answers_whole}
"""Those of CASES that the suite plays in less time; the table has them as a whole."""

OF_CREDENTIALS = {
    **_of(live_cases.polls_with_news, live_cases.polls_without_news),
    "polls of two users": live_cases.polls_of_users_with_copies,
    **_of(live_cases.polls_with_cookies, read_cases.credential_cookie),
    **_of(read_cases.past_browser_caches),
    **_of(read_cases.compression, read_cases.timing),
    **_of(read_cases.users_apart, read_cases.reads_at_once, read_cases.not_modified),
    **_of(sse_cases.events, sse_cases.event_reader_resumes),
}
"""Those in which it may matter that readers with credentials have copies of their own."""

OF_SHARING = _of(
    *(read_cases.users_apart, live_cases.polls_with_cookies, read_cases.credential_cookie),
    *(read_cases.past_browser_caches, read_cases.compression, read_cases.timing),
    *(read_cases.head_around_append, read_cases.writes),
)
"""Those in which it may matter that readers with credentials share, and that origins know them."""

OF_PATIENTS = _of(
    *(live_cases.polls_with_news, live_cases.polls_without_news, live_cases.cursors_ignored),
    *(read_cases.reordered_query, read_cases.head_around_append, read_cases.writes),
    *(read_cases.empty_tail, sse_cases.events),
)
"""Those whose faults the usual configurations have, as far as the reference server shows them."""
