"""Explanations of how a request for a stream of an own log would be answered, in steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.features.questions.streams import ExplainStep
from headgate_gateway.protocol.requests import Events, LongPoll, resumed
from headgate_gateway.protocol.streams import chunks
from headgate_gateway.protocol.streams.offsets import NOW, Offset, format_offset
from headgate_gateway.streams.reads import read_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.features.console.inspected_streams import ExplainedRequest
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.protocol.streams.state import StreamState
    from headgate_gateway.streams.reads import RenderedChunk
    from headgate_gateway.streams.route import HostedRoute

NEXT = "The next answer"


async def steps(route: HostedRoute, request: ExplainedRequest) -> AsyncIterator[ExplainStep]:
    """Yield the steps from canonical form to next response. Raises HeadgateError."""
    if request.method not in {"GET", "HEAD"}:
        yield ExplainStep(
            "What is asked", f"{request.method}: the log itself", "a cache answers reads only"
        )
        yield ExplainStep(NEXT, "BYPASS", "the log decides, and tells its readers at once")
        return
    read = route.parse(request.target)
    if isinstance(read, Events):
        read = resumed(read, request.headers)
    yield ExplainStep(
        "Canonical form",
        read.target,
        "the path in one percent-encoding; of the query only offset, live, cursor and view "
        "count, sorted",
    )
    yield ExplainStep("What is asked", _what_is_asked(read), "section 5 of the protocol")
    yield ExplainStep(
        "Who shares the answer",
        "everybody" if route.access.guard is None else "all who may read",
        "no header changes what an own log says",
    )
    yield ExplainStep("Cache key", read.target, "equal canonical targets are one answer")
    state = route.table.present(await route.table.load(request.name))
    yield ExplainStep("The stream", _described(state), "what the log has at this path")
    # After the look at the log, which drops what has become old.
    chunk = route.reads.services.store.peek(read.target, route.clock())
    yield _step_of_chunk(chunk, route.clock())
    if request.method == "HEAD":
        yield ExplainStep(NEXT, "BYPASS", "HEAD tells the tail, which no copy knows")
    else:
        yield ExplainStep(NEXT, *_outcome(route, read, state, chunk))


def _what_is_asked(read: Read) -> str:
    """Describe a read in words."""
    match read.offset:
        case None:
            where = "from the beginning"
        case "now":
            where = "from the tail"
        case Offset():
            where = f"from the offset {format_offset(*read.offset)}"
        case offset:
            where = f"from the offset {offset}"
    if read.view.is_rendered:
        return f"the view {read.view.name} {where}"
    match read:
        case LongPoll():
            return f"a long-poll {where}"
        case Events():
            return f"server-sent events {where}"
        case _:
            return f"what there is {where}"


def _step_of_chunk(chunk: RenderedChunk | None, now: float) -> ExplainStep:
    rule = "a whole chunk never changes; what reached the tail is dropped with the next append"
    if chunk is None:
        return ExplainStep("What is kept", "no answer", rule)
    lasting = "until the stream changes"
    if chunk.expires_at is not None:
        lasting = f"for {chunk.expires_at - now:.0f} s more"
    return ExplainStep("What is kept", f"an answer, given {chunk.hits} times, {lasting}", rule)


def _described(state: StreamState) -> str:
    end = "closed" if state.closed else "open"
    return f"{end}, {state.content_type}, its tail is {state.offset(state.tail)}"


def _outcome(
    route: HostedRoute, read: Read, state: StreamState, chunk: RenderedChunk | None
) -> tuple[str, str]:
    """Return the cache result of a GET, and why. Raises HeadgateError for an unknown offset."""
    if chunk is not None and chunk.is_of(state):
        return "HIT", "the kept answer is what the log would give"
    is_at_tail = chunks.start_position(state, read.offset) == state.tail
    if isinstance(read, Events):
        return "COLLAPSED", "events are written once for all who follow the stream"
    if isinstance(read, LongPoll) and is_at_tail:
        if state.closed:
            return "MISS", "the stream is closed, and its end is told at once"
        return "COLLAPSED", "all who wait at the tail are given one answer"
    if read.offset == NOW:
        return "BYPASS", "where the tail is now is never stored"
    shared = read_key(read, state) in route.reads.answers.under_way
    return ("COLLAPSED" if shared else "MISS", "the log is read once for all who ask meanwhile")
