"""Questions of the console to the processes, whose answers are of one kind or failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from admin.errors import ConsoleError
from gateway.features.questions.contract import AnswerFailure

if TYPE_CHECKING:
    from gateway.features.questions.contract import Question
    from gateway.features.questions.process_source import ProcessSource

A = TypeVar("A")


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
