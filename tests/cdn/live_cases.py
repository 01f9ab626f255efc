"""Cases of readers who wait: how many of them the origin sees, and when they are answered."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from tests.cdn.edges import GRACE_S, grace
from tests.cdn.findings import Fault, finding
from tests.cdn.viewers import Crowd, milliseconds
from tests.support.http1 import request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.cdn.edges import Edge, Stream
    from tests.cdn.findings import Finding
    from tests.cdn.viewers import Answered
    from tests.support.http1 import Client

# One for the news, and one for a reader who came between an answer and its copy. A copy may live
# for no longer than a second: where a busy machine needs seconds for a crowd, each may cost one.
MOST_AT_ORIGIN = 2
MANY_VIEWERS = 1000
CHAIN = (b"first", b"second", b"third")
SAME_USER = 20  # polls of each of two
FROM_NOW = 20
WAITS_S = 0.5  # an answer that takes longer waits for news
# A copy of one second, one more where a server counts in whole ones, and one in which the client
# itself comes too late to see that it ended.
HOT_S = 3.0
PACE_S = 0.01  # of a client that goes in circles, so that it leaves the processor to others


@contextlib.asynccontextmanager
async def crowd(edge: Edge, size: int) -> AsyncIterator[Crowd]:
    readers = await edge.crowd(size)
    try:
        yield readers
    finally:
        readers.close()


async def polls_with_news(edge: Edge, size: int | None = None) -> Finding:
    """Equal long-polls that an append ends."""
    size = size or edge.viewers
    stream = edge.stream(b"before")
    before = edge.polls()
    async with crowd(edge, size) as readers:
        readers.follow(partial(stream.poll, stream.tail))
        await edge.polls_at_rest(before)
        appended = asyncio.get_running_loop().time()
        stream.append(b"news")
        answers = await readers.answers()
    polls = edge.polls() - before
    right = [one.at - appended for one in answers if one.answer.body == b"news"]
    return finding(
        f"{size:,} → {polls}, {milliseconds(right)}",
        {
            Fault.LOST: len(right) < size,
            Fault.NO_COLLAPSE: polls > most_at_origin(answers) + int(max(right, default=0)),
            Fault.LATE: median(right or [0]) > grace(size),
        },
    )


def most_at_origin(answers: Sequence[Answered]) -> int:
    """As often as the time of a poll was over for somebody before there were news."""
    return MOST_AT_ORIGIN * max((one.polls for one in answers), default=1)


async def many_polls_with_news(edge: Edge) -> Finding:
    return await polls_with_news(edge, MANY_VIEWERS)


async def polls_without_news(edge: Edge, size: int | None = None) -> Finding:
    """Equal long-polls whose time is over. What nobody may keep makes a CDN's queue of them."""
    size = size or edge.viewers
    stream = edge.stream(b"before")
    before = edge.polls()
    async with crowd(edge, size) as readers:
        readers.ask(stream.poll(stream.tail))
        answers = await readers.answers()
    polls = edge.polls() - before
    took = [one.at - readers.began for one in answers if one.answer.status == 204]
    longest = max(took, default=0)
    return finding(
        f"{size:,} → {polls}, {longest:.1f} s" + (f", {size - len(took)} not" * (len(took) < size)),
        {
            Fault.NO_COLLAPSE: polls > MOST_AT_ORIGIN,
            Fault.SERIALISED: len(took) < size or median(took) > edge.origin.poll_s + GRACE_S,
        },
    )


async def many_polls_without_news(edge: Edge) -> Finding:
    return await polls_without_news(edge, MANY_VIEWERS)


async def chain(edge: Edge) -> Finding:
    """Readers who go on from each answer, with the cursor that it gave them."""
    stream = edge.stream(b"before")
    first = edge.ask("GET", f"{stream.path}?offset={stream.tail}")
    before = edge.polls()
    received = [b""] * edge.viewers
    delays: list[float] = []
    async with crowd(edge, edge.viewers) as readers, asyncio.TaskGroup() as tasks:
        for number, client in enumerate(readers.clients):
            tasks.create_task(_follow(client, stream, first.headers, received, number))
        for sent, data in enumerate(CHAIN):
            await edge.polls_at_rest(before + sent)
            appended = asyncio.get_running_loop().time()
            stream.append(data)
            await until(partial(_have_all, received, b"".join(CHAIN[: sent + 1])))
            delays.append(asyncio.get_running_loop().time() - appended)
    polls = edge.polls() - before
    return finding(
        f"{edge.viewers * len(CHAIN)} → {polls}, {milliseconds(delays)}",
        {
            Fault.LOST: set(received) != {b"".join(CHAIN)},
            Fault.NO_COLLAPSE: polls > MOST_AT_ORIGIN * len(CHAIN),
            Fault.LATE: max(delays) > GRACE_S,
        },
    )


def _have_all(received: Sequence[bytes], data: bytes) -> bool:
    return min(map(len, received)) >= len(data)


async def _follow(
    client: Client, stream: Stream, place: dict[str, str], received: list[bytes], number: int
) -> None:
    while len(received[number]) < sum(map(len, CHAIN)):
        target = stream.poll(place["stream-next-offset"], place.get("stream-cursor"))
        client.send(request("GET", target))
        answer = await client.whole(await client.head())
        received[number] += answer.body
        place = answer.headers


async def leader_gone(edge: Edge) -> Finding:
    """The reader whose poll the others wait for goes away."""
    stream = edge.stream(b"before")
    poll = partial(stream.poll, stream.tail)
    before = edge.polls()
    async with crowd(edge, 1) as leader, crowd(edge, 20) as followers:
        leader.follow(poll)
        await until(lambda: edge.polls() > before, "the leader at the origin")
        followers.follow(poll)
        await edge.polls_at_rest(before)
        leader.clients[0].abort()
        await edge.polls_at_rest(before)
        appended = asyncio.get_running_loop().time()
        stream.append(b"news")
        answers = await followers.answers()
    polls = edge.polls() - before
    right = [one.at - appended for one in answers if one.answer.body == b"news"]
    return finding(
        f"20 → {polls}, {milliseconds(right)}",
        {
            Fault.LOST: len(right) < len(followers.clients),
            Fault.NO_COLLAPSE: polls > most_at_origin(answers),
            Fault.LATE: median(right or [0]) > GRACE_S,
        },
    )


async def polls_of_users(edge: Edge, *, have_copies: bool = False) -> Finding:
    """Polls with credentials, which nobody else's may wait for."""
    stream = edge.stream(b"before")
    before = edge.polls()
    async with crowd(edge, SAME_USER) as first, crowd(edge, SAME_USER) as second:
        first.ask(stream.poll(stream.tail), Authorization="Bearer first")
        second.ask(stream.poll(stream.tail), Cookie="session=second")
        answers = [*await first.answers(), *await second.answers()]
    polls = edge.polls() - before
    took = [one.at - first.began for one in answers if one.answer.status == 204]
    longest = max(took, default=0)
    is_late = longest > edge.origin.poll_s + GRACE_S
    return finding(
        f"2 × {SAME_USER} → {polls}, {longest:.1f} s",
        {
            Fault.SERIALISED: len(took) < 2 * SAME_USER or is_late,
            **({Fault.NO_COLLAPSE: polls > 2 * MOST_AT_ORIGIN} if have_copies else {}),
            Fault.MIXED_USERS: polls < 2,
        },
    )


async def polls_of_users_with_copies(edge: Edge) -> Finding:
    """The same where each user has copies of his own: those who are the same wait for one."""
    return await polls_of_users(edge, have_copies=True)


async def polls_with_cookies(edge: Edge) -> Finding:
    """Equal long-polls of readers who each have a cookie of their own, which is no credential."""
    stream = edge.stream(b"before")
    target, before = stream.poll(stream.tail), edge.polls()
    async with crowd(edge, edge.viewers) as readers:
        readers.send(
            [
                request("GET", target, None, Cookie=f"_ga=GA1.{number}; theme=dark")
                for number in range(edge.viewers)
            ]
        )
        await edge.polls_at_rest(before)
        stream.append(b"news")
        answers = await readers.answers()
    polls = edge.polls() - before
    right = [one for one in answers if one.answer.body == b"news"]
    return finding(
        f"{edge.viewers} → {polls}",
        {
            Fault.LOST: len(right) < edge.viewers,
            Fault.NO_COLLAPSE: polls > MOST_AT_ORIGIN,
        },
    )


async def polls_from_now(edge: Edge) -> Finding:
    """Polls from `offset=now` that an append ends, and one that begins after it."""
    stream = edge.stream(b"before")
    before = edge.polls()
    async with crowd(edge, FROM_NOW) as waiting, crowd(edge, 1) as late:
        waiting.ask(stream.poll("now"))
        await edge.polls_at_rest(before)
        appended = asyncio.get_running_loop().time()
        stream.append(b"news")
        answers = await waiting.answers()
        polls = edge.polls()
        late.ask(stream.poll("now"))
        await until(lambda: late.is_answered or edge.polls() > polls)
        stream.append(b"later")
        seen = [one.answer.body for one in await late.answers()]
    right = [one.at - appended for one in answers if one.answer.body == b"news"]
    is_old = seen != [b"later"]
    return finding(
        f"{FROM_NOW} → {polls - before}, {milliseconds(right)}" + ", old" * is_old,
        {
            Fault.LOST: len(right) < FROM_NOW,
            Fault.LATE: median(right or [0]) > GRACE_S,
            Fault.NOW_OLD: is_old,
        },
    )


async def cursors_ignored(edge: Edge) -> Finding:
    """A client that asks for the same again and again: for how long it is answered at once."""
    stream = edge.stream(b"before")
    wire = request("GET", stream.poll(stream.tail))
    loop = asyncio.get_running_loop()
    async with crowd(edge, 1) as readers:
        readers.ask(stream.poll(stream.tail))
        await readers.answers()
        began, hot_s = loop.time(), 0.0
        asking = await Crowd.connect(edge.port, 1, WAITS_S)
        try:
            while (hot_s := loop.time() - began) <= HOT_S:
                asking.clients[0].send(wire)
                await asking.clients[0].head()
                await asyncio.sleep(PACE_S)
        except TimeoutError:
            pass  # it waits at the origin again, as it should
        finally:
            asking.close()
    is_endless = hot_s > HOT_S
    shown = f"for over {HOT_S:.0f} s" if is_endless else f"for {hot_s:.1f} s"
    return finding(shown, {Fault.HOT_LOOP: is_endless})
