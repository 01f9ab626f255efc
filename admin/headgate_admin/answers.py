"""Questions of the console to the processes, whose answers are of one kind or failures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from headgate_admin.errors import ConsoleError
from headgate_gateway.features.questions.contract import (
    AnswerFailure,
    FeatureAnswer,
    FeatureQuestion,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.features.questions.process_source import ProcessSource

A = TypeVar("A")
PROMPT_S = 1.0  # for all workers: with the other waits of a look it is over before the next


async def answers_of(source: ProcessSource, question: Question, kind: type[A]) -> list[A]:
    """Return the answers of this kind. Raises ConsoleError with the reason if there is none."""
    answers = await source.query(question)
    found: list[A] = [answer for answer in answers if isinstance(answer, kind)]
    if found:
        return found
    for answer in answers:
        if isinstance(answer, AnswerFailure):
            raise ConsoleError(answer.status, answer.reason)
    raise ConsoleError(503, "no worker answers: try again")


async def feature_answers(
    source: ProcessSource, feature: str, question: msgspec.Struct, kind: type[A]
) -> list[A]:
    """Return the answers of a feature, which are of this kind. Raises ConsoleError."""
    asked = FeatureQuestion.of(feature, question)
    return [it.read(kind) for it in await answers_of(source, asked, FeatureAnswer)]


async def prompt_answers(source: ProcessSource, question: Question) -> Sequence[Answer]:
    """Return the answers for a look of the recorder; () if they are late, since it looks again."""
    try:
        async with asyncio.timeout(PROMPT_S):
            return await source.query(question)
    except TimeoutError:
        return ()
