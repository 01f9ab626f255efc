"""The requests for answers, and the contract of what answers them: a provider, or any server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headgate.dialects.contract import bearer
from msgspec import UNSET

from gateway.errors import StreamGone
from gateway.protocol.http.header_names import PROVIDER_KEYS
from gateway.protocol.http.paths import taken_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import UnsetType
    from multidict import CIMultiDict, MultiMapping

    from gateway.features.models.answer import AnswerParts, StoredResponse
    from gateway.features.models.left.unfinished import UnfinishedAnswer
    from gateway.features.models.left.unread import Leave
    from gateway.features.models.live_answer import WholeResponse
    from gateway.features.models.provider.client import ServedResponse
    from gateway.features.models.stored import Answer


class RequestBody:
    """The body of a request for an answer as it is sent on, until the provider has it.

    Of what it is without a content coding, only the `digest` is kept, by which equal requests are
    recognised ("" where none are joined), and the `prompt`, if that is to be stored: a body of 500
    bytes may have 16 MiB.
    """

    __slots__ = ("digest", "prompt", "sent")

    def __init__(self, sent: bytes, digest: str = "", prompt: bytes | None = None) -> None:
        self.sent = sent
        self.digest = digest
        self.prompt = prompt

    def drop(self) -> None:
        """Keep the digest alone."""
        self.sent, self.prompt = b"", None


def digest_of(target: str, body: bytes) -> str:
    """Return the digest of a request for an answer, whose body has no content coding."""
    return hashlib.sha256(target.encode() + b"\n" + body).hexdigest()


OF_OTHER_ANSWER = "Last-Event-ID is of another answer: leave it out"
# Azure has no default for it (https://learn.microsoft.com/azure/ai-services/openai/reference).
_VERSION = "api-version="


class AnswerRequest(NamedTuple):
    """A request for an answer: only its `owner` may join it, nobody if that is b"".

    `path` and `target`, the path with its query, are below the upstream's URL. `fields` are the
    header fields for the provider. `stream` is the name that the caller gives the stream, if any.
    `account` is that of the principal; "" if there is none. `address` is that of a client without a
    principal that brings its own key of the provider, or none; "" for any other. An answer that
    `is_whole` does not stream. One that `is_plain` is stored as it comes, and the `path` of its
    request is the URL of the server, to which `target` is added. `last_event_id` is the offset
    after the last event that the client has, if any: then it joins its answer even if that failed.
    """

    owner: bytes
    idempotency_key: str | None
    path: str
    target: str
    fields: CIMultiDict[str]
    body: RequestBody
    model: str | None
    in_background: bool = False
    stream: str | None = None
    account: str = ""
    address: str = ""
    is_whole: bool = False
    is_plain: bool = False
    method: str = "POST"
    last_event_id: str | None = None

    def may_join(self, answer: Answer) -> bool:
        """Return whether this request joins an answer to an earlier one with its key."""
        return self.last_event_id is not None or not answer.frees_key

    def check_begin(self, offset: str | None) -> None:
        """Raise StreamGone if its client has events, but not of the answer before the offset.

        A new answer would begin there; None is in a new stream. The provider is not called yet.
        """
        if self.last_event_id is not None and self.last_event_id != offset:
            raise StreamGone(OF_OTHER_ANSWER)

    @property
    def version(self) -> str | UnsetType:
        """The part of the query with which the rest of the answer is retrieved, if any."""
        parts, _ = taken_out(self.target, lambda part: part.startswith(_VERSION))
        return parts[0] if parts and self.in_background else UNSET


def owner_of_account(account: str) -> bytes:
    """Return the owner of the answers of an account; b"" for no account."""
    return b"principal:" + account.encode() if account else b""


def owner_of_keys(keys: Sequence[str]) -> bytes:
    """Return the owner of the answers to requests with these keys of a provider, all of them."""
    return b"key:" + "\n".join(keys).encode() if keys else b""


def sent_keys(headers: MultiMapping[str]) -> list[str]:
    """Return all keys of a provider that a request sends: some providers take one, some another."""
    keys = {key for name in PROVIDER_KEYS for key in headers.getall(name, ())}
    if token := bearer(headers):
        keys.add(token)
    return sorted(keys)


class AnswerOwner(NamedTuple):
    """An owner of answers, with the header fields for the provider, which have its key."""

    owner: bytes
    fields: CIMultiDict[str]
    account: str = ""


class AnswerProviderLike(Protocol):
    """The provider of a route's answers, which is called once for each."""

    @property
    def prefix(self) -> str:
        """The prefix of the route."""

    @property
    def leave(self) -> Leave:
        """The route's setting of that name: when an answer is stopped that nobody reads."""

    async def call(self, request: AnswerRequest, /) -> ServedResponse:
        """Return the response to a request once its head has come. Raises HeadgateError."""

    async def read_response(
        self, served: ServedResponse, request: AnswerRequest, /
    ) -> StoredResponse | WholeResponse:
        """Return a response as it is to be stored, or whole if it is not. Raises HeadgateError."""

    def own_caller(self) -> AnswerOwner | None:
        """Return the gateway as a caller with its own key; None where callers have the keys."""

    def rest_of(self, answer: UnfinishedAnswer, caller: AnswerOwner, /) -> AnswerParts:
        """Return the events that the provider has after those of a background response."""
