"""The questions of operators about subscriptions, and their changes to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

import msgspec

from headgate_gateway.background import Turns
from headgate_gateway.errors import BadRequest, HeadgateError, StreamNotFound
from headgate_gateway.features.questions.contract import AnswerFailure
from headgate_gateway.features.questions.subscriptions import (
    MOST_REPLAYED,
    DeleteSubscription,
    DeletionResult,
    DescribeSubscription,
    ListSubscriptions,
    PauseSubscription,
    ReplayResult,
    ReplaySubscription,
    SubscriptionAnswer,
    SubscriptionPage,
    SubscriptionQuestion,
    merged_pages,
)
from headgate_gateway.features.subscriptions.engine import RouteSubscriptions
from headgate_gateway.features.subscriptions.errors import (
    SubscriptionRefused,
    invalid,
    invalid_offset,
)
from headgate_gateway.features.subscriptions.listing import describe, list_subscriptions
from headgate_gateway.features.subscriptions.metrics import no_states
from headgate_gateway.features.subscriptions.requests import SubscriptionRequests
from headgate_gateway.features.subscriptions.shared import mail
from headgate_gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from headgate_gateway.features.subscriptions.state.configuration import check_name
from headgate_gateway.protocol.streams.offsets import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from headgate_gateway.features.subscriptions.state.subscription import (
        DurableSubscription,
        StreamLink,
    )
    from headgate_gateway.protocol.streams.state import StreamState


METHOD = "operator"  # no request of a client has it: methods of control paths are checked before

_OfRoute = RouteSubscriptions | SharedSubscriptions
_Answer = SubscriptionAnswer | AnswerFailure
_answers: msgspec.json.Decoder[_Answer] = msgspec.json.Decoder(_Answer)
_decode_question = msgspec.json.Decoder(SubscriptionQuestion).decode


async def answer_operator_question(
    subscriptions: Iterable[_OfRoute], question: SubscriptionQuestion
) -> _Answer:
    """Return the answer for the subscriptions of some routes. Raises HeadgateError."""
    chosen = question.where.route if isinstance(question, ListSubscriptions) else question.route
    found = [it for it in subscriptions if chosen in {"", it.prefix}]
    if chosen and not found:
        raise StreamNotFound(f"no route with subscriptions has the prefix {chosen}")
    answers = [await _of_route(one, question) for one in found]
    if isinstance(question, ListSubscriptions):
        return _one_list(question, answers)
    return answers[0]


def _one_list(question: ListSubscriptions, answers: list[_Answer]) -> _Answer:
    """Return the lists of several routes as one, or the first failure."""
    pages: list[SubscriptionPage] = []
    for one in answers:
        if not isinstance(one, SubscriptionPage):
            return one
        pages.append(one)
    states = no_states()
    for page in pages:
        for status, number in page.states.items():
            states[status] += number
    if not pages:
        return SubscriptionPage((), 0, states)
    merged = merged_pages(question, pages, total=sum(it.total for it in pages))
    return msgspec.structs.replace(merged, states=states)


async def _of_route(subscriptions: _OfRoute, question: SubscriptionQuestion) -> _Answer:
    if isinstance(subscriptions, SharedSubscriptions):
        handed = mail.HandedOnRequest(METHOD, "", "", [], msgspec.json.encode(question))
        back = await subscriptions.hand_on(handed)
        if isinstance(back, mail.HandedOnResponse):
            if back.status != 200:
                return AnswerFailure(back.status, "the gateway that delivers did not answer")
            return _answers.decode(back.body)
        return await answer_for(back, question)
    await subscriptions.wait_until_open()
    return await answer_for(subscriptions, question)


async def carry_out(
    engine: RouteSubscriptions, handed: mail.HandedOnRequest
) -> mail.HandedOnResponse:
    """Return the answer to a question that another gateway has handed on."""
    try:
        question = _decode_question(handed.body)
        found: _Answer = await answer_for(engine, question)
    except msgspec.DecodeError:
        found = AnswerFailure(501, "the gateway that delivers is of another version")
    except HeadgateError as refusal:
        found = AnswerFailure(refusal.status, refusal.detail)
    return mail.HandedOnResponse(200, "", msgspec.json.encode(found))


async def answer_for(engine: RouteSubscriptions, question: SubscriptionQuestion) -> _Answer:
    """Return the answer for the subscriptions of one route. Raises HeadgateError.

    Each of several processes may hand on the same change: it is made once more, to no effect.
    """
    requests = SubscriptionRequests(engine)
    try:
        match question:
            case ListSubscriptions():
                return await Turns().run(list_subscriptions(engine, question))
            case DescribeSubscription():
                return describe(engine, requests.find(question.id), question)
            case DeleteSubscription():
                was_there = question.id in engine.by_id
                await requests.delete(question.id)
                return DeletionResult(was_there)
            case PauseSubscription():
                found = requests.find(question.id)
                await _pause(engine, found, resumes=question.resumes)
                described = DescribeSubscription(engine.prefix, question.id, with_urls=True)
                return describe(engine, found, described)
            case ReplaySubscription():
                return await _replay(engine, question)
            case _:
                assert_never(question)
    except SubscriptionRefused as refusal:
        return AnswerFailure(refusal.status, refusal.detail)


async def _pause(engine: RouteSubscriptions, found: DurableSubscription, *, resumes: bool) -> None:
    """Send no wakes any more, or again, at once if something is pending.

    A lease that is in force stays so.
    """
    if found.is_paused is resumes:
        found.delivery.paused_at = None if resumes else engine.clock()
        engine.rows.mark(found)
        engine.wakes.retry_now(found)  # which leaves paused ones alone
    await engine.rows.flush()


async def _replay(engine: RouteSubscriptions, question: ReplaySubscription) -> ReplayResult:
    await engine.refresh(question.streams)
    async with engine.changing:
        found = SubscriptionRequests(engine).find(question.id)
        steps = _set_back(engine, found, question.streams, question.offset or BEGINNING)
        moved = await engine.streams.turns.run(steps)
        await engine.rows.flush()
    return ReplayResult(moved, found.delivery.generation)


class _CursorBack(NamedTuple):
    link: StreamLink
    stream_id: int
    position: int


def _set_back(
    engine: RouteSubscriptions,
    subscription: DurableSubscription,
    names: Sequence[str],
    offset: str,
) -> Generator[None, None, int]:
    """Set cursors back, of all streams if none is named; return how many. Each one is a step.

    Wakes so far are fenced. A cursor that is there already, or before, stays. Raises
    SubscriptionRefused, and then nothing has changed.
    """
    moves: list[_CursorBack] = []
    for link, state in _choose_links(subscription, names):
        position = max(state.first, state.beginning)
        if offset != BEGINNING:
            if not names:
                raise invalid("an offset belongs to a stream: name it")
            position = _position(link, state, offset, earliest=position)
        if position < link.position or (link.is_closed and position < state.tail):
            moves.append(_CursorBack(link, state.stream_id, position))
        yield
    if not moves:
        return 0
    engine.wakes.end(subscription)
    subscription.delivery.generation += 1
    engine.wakes.counts["replayed"] += 1
    for link, stream_id, position in moves:
        yield
        state_now = link.stream.state
        if state_now is not None and state_now.stream_id == stream_id:
            link.set_back(position)
            subscription.note(link)
            engine.rows.mark_link(link)
    engine.wakes.retry_now(subscription)
    return len(moves)


def _choose_links(
    subscription: DurableSubscription, names: Sequence[str]
) -> list[tuple[StreamLink, StreamState]]:
    if len(names) > MOST_REPLAYED:
        raise invalid(f"name {MOST_REPLAYED} streams at most, or none for all")
    if not names:
        links = list(subscription.links.values())
        return [(it, it.stream.state) for it in links if it.stream.state is not None]
    found: dict[str, tuple[StreamLink, StreamState]] = {}
    for name in names:
        path = check_name(name)
        link = subscription.links.get(path)
        if link is None or link.stream.state is None:
            raise invalid_offset(f"the subscription is linked to no stream {name}")
        found[path] = link, link.stream.state
    return list(found.values())


def _position(link: StreamLink, state: StreamState, offset: str, *, earliest: int) -> int:
    """Return the position to which a cursor is set back."""
    name = link.stream.path
    try:
        position = state.position(offset)
    except BadRequest as refusal:
        raise invalid_offset(f"the offset is none of the stream {name}: {refusal.detail}") from None
    if position > state.tail:
        raise invalid_offset(f"the offset is beyond the tail of {name}, {state.offset(state.tail)}")
    if position < earliest:
        raise invalid_offset(
            f"the offset is before the first one of {name}, {state.offset(earliest)}"
        )
    if position > link.position:
        acked = state.offset(link.position)
        raise invalid_offset(f"the offset is beyond what is acknowledged of {name}, {acked}")
    return position
