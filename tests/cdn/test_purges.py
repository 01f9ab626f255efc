"""Each configuration that says it can be purged forgets one URL, and no other has a way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_cdn.errors import Refused
from tests.cdn.candidates import Candidate
from tests.cdn.read_cases import whole_chunk
from tests.support.proxy_engines import ENGINES
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.cdn.edges import Edge
    from tests.cdn.origin import HeadgateOrigin

# Theirs are by tag, in Workers Cache, which is at Cloudflare only: see test_worker_purges.py.
ELSEWHERE = {"cloudflare-worker", "cloudflare-durable"}
SETTLE_S = 0.5  # less than the second for which a poll's copy is fresh
WITH_PURGE = [Candidate(name, purge=True) for name in ENGINES if name not in ELSEWHERE]
ABLE = [one for one in WITH_PURGE if "purges" in one.abilities]
OTHERS = [one for one in WITH_PURGE if one not in ABLE]


@pytest.mark.parametrize("edge", ABLE, indirect=True, ids=str)
async def test_a_purge_evicts_the_cached_response_of_its_url_and_no_other(edge: Edge) -> None:
    one, other = whole_chunk(edge), whole_chunk(edge)
    for target in (one, other, one, other):
        edge.ask("GET", target)
    before = edge.origin.asked().reads
    assert edge.ask("PURGE", one).status == 200
    for target in (one, other):
        assert edge.ask("GET", target).body == b"second"
    assert edge.origin.asked().reads == before + 1


@pytest.mark.parametrize("edge", ABLE, indirect=True, ids=str)
async def test_a_purge_evicts_the_cached_response_of_a_long_poll(edge: Edge) -> None:
    stream = edge.stream(b"first")
    stream.append(b"second")
    cursor = edge.at_origin(stream.poll(stream.tail)).get("Stream-Cursor")
    poll = stream.poll(stream.tail, cursor)
    for _ in range(2):
        assert edge.ask("GET", poll).body == b"second"
    before = edge.polls()
    edge.ask("PURGE", poll)  # some say that there was none, of what is no poll

    def is_asked_anew() -> bool:
        assert edge.ask("GET", poll).body == b"second"
        return edge.polls() == before + 1

    # nginx drops the copies of polls in a request of its own, after it has answered the purge.
    await until(is_asked_anew, within_s=SETTLE_S)


@pytest.mark.parametrize("candidate", OTHERS, ids=str)
async def test_a_configuration_that_cannot_be_purged_is_refused_with_purge(
    candidate: Candidate, origin: HeadgateOrigin
) -> None:
    with pytest.raises(Refused, match="takes no purges"):
        candidate.files(1, origin)
