"""Questions of operators about subscriptions: answered here, or by the gateway that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.errors import HeadgateError, StreamNotFound
from gateway.features.questions.contract import AnswerFailure
from gateway.features.questions.subscriptions import (
    ListSubscriptions,
    SubscriptionAnswer,
    SubscriptionPage,
    SubscriptionQuestion,
    merged_pages,
)
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.metrics import no_states
from gateway.features.subscriptions.operators.answers import answer as local_answer
from gateway.features.subscriptions.shared import mail
from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions

if TYPE_CHECKING:
    from collections.abc import Iterable

METHOD = "operator"  # no request of a client has it: methods of control paths are checked before

_OfRoute = RouteSubscriptions | SharedSubscriptions
_Answer = SubscriptionAnswer | AnswerFailure
_answers: msgspec.json.Decoder[_Answer] = msgspec.json.Decoder(_Answer)
_decode_question = msgspec.json.Decoder(SubscriptionQuestion).decode


async def answer(subscriptions: Iterable[_OfRoute], question: SubscriptionQuestion) -> _Answer:
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
        return await local_answer(back, question)
    await subscriptions.wait_until_open()
    return await local_answer(subscriptions, question)


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
        found: _Answer = await local_answer(engine, question)
    except msgspec.DecodeError:
        found = AnswerFailure(501, "the gateway that delivers is of another version")
    except HeadgateError as refusal:
        found = AnswerFailure(refusal.status, refusal.detail)
    return mail.HandedOnResponse(200, "", msgspec.json.encode(found))
