"""The questions of operators about subscriptions, and their changes to them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never
from urllib.parse import quote

import msgspec

from gateway.background import Turns
from gateway.errors import HeadgateError, StreamNotFound
from gateway.features.questions.contract import AnswerFailure
from gateway.features.questions.subscriptions import (
    DeleteSubscription,
    DeletionResult,
    DescribeSubscription,
    ListSubscriptions,
    PauseSubscription,
    PutSubscription,
    ReplayResult,
    ReplaySubscription,
    SendTestDelivery,
    SubscriptionAnswer,
    SubscriptionChange,
    SubscriptionPage,
    SubscriptionQuestion,
    merged_pages,
)
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.errors import SubscriptionRefused, invalid
from gateway.features.subscriptions.metrics import no_states
from gateway.features.subscriptions.operators.listing import describe, list_subscriptions
from gateway.features.subscriptions.operators.replays import ReplayPlace, set_back
from gateway.features.subscriptions.requests import SubscriptionRequests
from gateway.features.subscriptions.shared import mail
from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from gateway.features.subscriptions.state.configuration import LONGEST_ID, parse_configuration
from gateway.features.subscriptions.state.owners import SubscriptionOwner

if TYPE_CHECKING:
    from collections.abc import Iterable


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
    if isinstance(question, ListSubscriptions):
        where = msgspec.structs.replace(question.where, route=subscriptions.prefix)
        question = msgspec.structs.replace(question, where=where)
    if isinstance(subscriptions, SharedSubscriptions):
        handed = mail.HandedOnRequest(METHOD, "", "", [], msgspec.json.encode(question))
        back = await subscriptions.hand_on(handed)
        if isinstance(back, mail.HandedOnResponse):
            return _decode_answer(back)
        return await answer_for(back, question)
    await subscriptions.wait_until_open()
    return await answer_for(subscriptions, question)


def _decode_answer(back: mail.HandedOnResponse) -> _Answer:
    if back.status != 200:
        return AnswerFailure(back.status, "the gateway that delivers did not answer")
    return _answers.decode(back.body)


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


MOST_CHANGES = 100  # that are remembered: processes hand on a change at the same time


async def answer_for(
    engine: RouteSubscriptions, question: SubscriptionQuestion
) -> SubscriptionAnswer | AnswerFailure:
    """Return the answer for the subscriptions of one route. Raises HeadgateError.

    A change that several processes hand on is made once: all get its result.
    """
    try:
        if isinstance(question, ListSubscriptions):
            return await Turns().run(list_subscriptions(engine, question))
        if isinstance(question, DescribeSubscription) or not question.change_id:
            return await _answer_about(engine, question)
        changes = engine.operator_changes
        task = changes.get(question.change_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(_answer_about(engine, question))
            changes[question.change_id] = task
            while len(changes) > MOST_CHANGES:
                del changes[next(iter(changes))]
        return await asyncio.shield(task)
    except SubscriptionRefused as refusal:
        return AnswerFailure(refusal.status, refusal.detail)


async def _answer_about(
    engine: RouteSubscriptions, question: DescribeSubscription | SubscriptionChange
) -> SubscriptionAnswer:
    """Return the answer about one subscription. Raises SubscriptionRefused, HeadgateError."""
    requests = SubscriptionRequests(engine)
    match question:
        case DescribeSubscription():
            return describe(engine, requests.find(question.id), question)
        case PutSubscription():
            await _put(engine, question)
        case DeleteSubscription():
            was_there = question.id in engine.by_id
            await requests.delete(question.id)
            return DeletionResult(was_there)
        case PauseSubscription():
            await _pause(engine, question)
        case ReplaySubscription():
            return await _replay(engine, question)
        case SendTestDelivery():
            found = requests.find(question.id)
            if found.configuration.type != "webhook":
                raise invalid("only the receiver of a webhook subscription can be tested")
            return await engine.sender.test(found)
        case _:
            assert_never(question)
    described = DescribeSubscription(engine.prefix, question.id, with_urls=True)
    return describe(engine, requests.find(question.id), described)


async def _put(engine: RouteSubscriptions, question: PutSubscription) -> None:
    if not 0 < len(quote(question.id, safe="")) <= LONGEST_ID:
        raise invalid(f"an id has 1 to {LONGEST_ID} bytes, percent-encoded")
    configuration = parse_configuration(bytes(question.body), engine.prefix)
    owner = SubscriptionOwner(is_operators=engine.rights.guard() is not None)
    await SubscriptionRequests(engine).put(question.id, configuration, owner)


async def _pause(engine: RouteSubscriptions, question: PauseSubscription) -> None:
    """Send no wakes any more, or again, at once if something is pending.

    A lease that is in force stays so.
    """
    found = SubscriptionRequests(engine).find(question.id)
    if found.is_paused is question.resumes:
        found.delivery.paused_at = None if question.resumes else engine.clock()
        engine.rows.mark(found)
        engine.wakes.retry_now(found)  # which leaves paused ones alone
    await engine.rows.flush()


async def _replay(engine: RouteSubscriptions, question: ReplaySubscription) -> ReplayResult:
    if question.offset is not None and question.since is not None:
        raise invalid("give an offset or a time, not both")
    start = ReplayPlace(question.offset, question.since)
    await engine.refresh(question.streams)
    async with engine.changing:
        found = SubscriptionRequests(engine).find(question.id)
        moved = await engine.streams.turns.run(set_back(engine, found, question.streams, start))
        await engine.rows.flush()
    return ReplayResult(moved, found.delivery.generation)
