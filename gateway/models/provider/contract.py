"""The contract of what answers come from: a provider of models, or any server behind a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.models.answer import StoredResponse
    from gateway.models.answers import AnswerRequest
    from gateway.models.dialects.contract import Dialect
    from gateway.models.live_answer import WholeResponse
    from gateway.models.provider.client import ServedResponse


class AnswerProviderLike(Protocol):
    """The provider of a route's answers, which is called once for each."""

    @property
    def prefix(self) -> str:
        """The prefix of the route."""

    @property
    def dialect(self) -> Dialect:
        """The dialect of the answers."""

    async def call(self, request: AnswerRequest, /) -> ServedResponse:
        """Return the response to a request once its head has come. Raises HeadgateError."""

    async def read_response(
        self, served: ServedResponse, request: AnswerRequest, /
    ) -> StoredResponse | WholeResponse:
        """Return a response as it is to be stored, or whole if it is not. Raises HeadgateError."""
