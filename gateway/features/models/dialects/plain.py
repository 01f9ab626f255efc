"""The dialect of responses that are stored as they are, whatever they are: it adds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.features.models.dialects.contract import Dialect
from gateway.features.models.dialects.progress import AnswerProgress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

    from gateway.features.models.dialects.contract import EarlyEnd


class PlainDialect(Dialect):
    """Bytes of any type: a response that ends early has no event that says so."""

    name = "plain"
    answer_ends = ()

    @override
    def key_fields(self, key: str) -> Mapping[str, str]:
        return {}

    @override
    def key_of(self, headers: MultiMapping[str]) -> str | None:
        return None

    @override
    def failure_event(self, path: str, failure: EarlyEnd, number: int) -> bytes:
        return b""

    @override
    def state_of(self, path: str) -> AnswerProgress:
        return AnswerProgress()
