"""The errors that only features answer requests with."""

from __future__ import annotations

from headgate_gateway.errors import HeadgateError, Unauthenticated


class SignatureRefused(Unauthenticated, code="signature_refused", status=401):
    """A signed URL is needed, and there is none, or one that does not permit the request."""

    def __init__(self, why: str, detail: str) -> None:
        """Refuse by the code `why` of the Proxy Protocol."""
        super().__init__(detail, is_refused=True)
        self.why = why


class IdempotencyKeyReused(HeadgateError, code="idempotency_key_reused", status=422):
    """The Idempotency-Key came with another request before."""


class AnswerTooLong(HeadgateError, code="answer_too_long", status=502):
    """The answer of a model has more bytes than may be stored."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is over {limit} bytes: see max_answer_size")
        self.limit = limit
