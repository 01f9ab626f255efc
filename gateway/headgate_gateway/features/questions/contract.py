"""Every question of the console to a running gateway, and every answer.

A question goes to one process or to several; each answers for itself. Both are plain values, so
that they pass between processes as JSON.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from headgate_gateway.features.questions.loudest import ListLoudest, LoudestList
from headgate_gateway.features.questions.readers import ReaderAnswer, ReaderQuestion
from headgate_gateway.features.questions.runs import ListRuns, RunPage
from headgate_gateway.features.questions.streams import (
    DescribeStream,
    ExplainRequest,
    Explanation,
    LimitStream,
    ListStreams,
    StreamDescription,
    StreamPage,
)
from headgate_gateway.features.questions.tokens import ListTokens, TokenPage
from headgate_gateway.telemetry.access_log import RefusedRequest
from headgate_gateway.telemetry.event_journal import ProcessEvents

A = TypeVar("A")

# Bytes of the figures that a gateway shares with others. A route takes less than a thousand.
LONGEST_FIGURES = 256 << 10


class ListRefusals(msgspec.Struct, tag=True, frozen=True):
    """A question for the newest responses with 4xx or 5xx."""


class RefusalList(msgspec.Struct, tag=True, frozen=True):
    """The newest refusals of a process, the newest first."""

    rows: tuple[RefusedRequest, ...]


class ShareMetrics(msgspec.Struct, tag=True, frozen=True):
    """Leave a gateway's figures where others that share a log find them, and bring theirs."""

    instance: str  # of the gateway that asks
    figures: str  # JSON, which the log does not look into


class PeerMetrics(msgspec.Struct, tag=True, frozen=True):
    """The figures that other gateways left in the last seconds, by instance.

    `is_whole` is False if a log could not be asked, so that some may be missing.
    """

    figures: dict[str, str]
    is_whole: bool = True


class TakeEvents(msgspec.Struct, tag=True, frozen=True):
    """Take the events of each process, and let it forget those that were taken before."""

    after: dict[str, int]  # the last sequence that was taken, by process


class FeatureQuestion(msgspec.Struct, tag=True, frozen=True):
    """A question to a feature, of which only the feature knows the form: it may be from outside."""

    feature: str
    question: msgspec.Raw

    @classmethod
    def of(cls, feature: str, question: msgspec.Struct) -> FeatureQuestion:
        """Return one of the `questions` that the FeatureKind names."""
        return cls(feature, msgspec.Raw(msgspec.json.encode(question)))


class FeatureAnswer(msgspec.Struct, tag=True, frozen=True):
    """The answer of a feature."""

    answer: msgspec.Raw

    @classmethod
    def of(cls, answer: msgspec.Struct) -> FeatureAnswer:
        """Return an answer as it passes between processes."""
        return cls(msgspec.Raw(msgspec.json.encode(answer)))

    def read(self, kind: type[A]) -> A:
        """Return the answer, which is of this kind."""
        return msgspec.json.decode(self.answer, type=kind)


class AnswerFailure(msgspec.Struct, tag=True, frozen=True):
    """The reason for no answer: there is no such stream, the log is away, and so on."""

    status: int  # as HTTP would say it
    reason: str


Question = (
    ListStreams
    | DescribeStream
    | LimitStream
    | ListRuns
    | ExplainRequest
    | ListRefusals
    | ListLoudest
    | ListTokens
    | ShareMetrics
    | TakeEvents
    | ReaderQuestion
    | FeatureQuestion
)
Answer = (
    StreamPage
    | StreamDescription
    | ReaderAnswer
    | RunPage
    | Explanation
    | RefusalList
    | LoudestList
    | TokenPage
    | PeerMetrics
    | ProcessEvents
    | FeatureAnswer
    | AnswerFailure
)
