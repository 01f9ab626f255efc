"""The requests for completions: who asks, for which, and what decides how it is answered."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec

from headgate.dialects.contract import bearer
from headgate.events import BOM
from headgate.json_values import NOT_JSON, decoded_json
from headgate_gateway.errors import BadRequest, StreamGone
from headgate_gateway.protocol.http.header_names import (
    IDEMPOTENCY_KEY,
    KEY_PREFIX_FIELD,
    PROVIDER_KEYS,
    STREAM_FIELD,
)
from headgate_gateway.protocol.http.paths import taken_out
from headgate_gateway.protocol.streams.offsets import BEGINNING, parse_offset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import CIMultiDict, MultiMapping

    from headgate_gateway.features.models.completion import (
        Completion,
        StoredResponse,
        WholeResponse,
    )
    from headgate_gateway.features.models.provider.client import ProviderResponse
    from headgate_gateway.runtime.limits import BodyCount


class RequestBody:
    """The body of a request for a completion as it is sent on, until the provider has it.

    Of what it is without a content coding, only the `digest` is kept, by which equal requests are
    recognised ("" where none are joined): a body of 500 bytes may have 16 MiB. What is kept counts
    among the bytes of all bodies, in `counted`.
    """

    __slots__ = ("_counted", "digest", "sent")

    def __init__(self, sent: bytes, digest: str = "", counted: BodyCount | None = None) -> None:
        self.sent = sent
        self.digest = digest
        self._counted = counted

    def drop(self) -> None:
        """Keep the digest alone."""
        self.sent = b""
        if self._counted is not None:
            self._counted.release()


def digest_of(target: str, body: bytes) -> str:
    """Return the digest of a request for a completion, whose body has no content coding."""
    digest = hashlib.sha256(target.encode() + b"\n")
    digest.update(body)  # without a copy, which may have 16 MiB
    return digest.hexdigest()


OF_OTHER_ANSWER = "Last-Event-ID is of another answer: leave it out"


Leave: TypeAlias = Literal["stop-unnamed", "stop", "go-on"]


class CompletionRequest(NamedTuple):
    """A request for a completion: only its `owner` may join it, nobody if that is b"".

    `path` and `target`, the path with its query, are below the upstream's URL. `fields` are the
    header fields for the provider. `stream` is the name that the caller gives the stream, if any.
    `address` is that of a client without a principal that brings its own key of the provider, or
    none; "" for any other. A completion that `is_plain` is stored as it comes, and the `path` of
    its request is the URL of the server, to which `target` is added. `last_event_id` is the offset
    after the last event that the client has, if any: then it joins its completion even if that
    failed.
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
    address: str = ""
    is_plain: bool = False
    method: str = "POST"
    last_event_id: str | None = None

    def may_join(self, completion: Completion) -> bool:
        """Return whether this request joins the completion of an earlier one with its key."""
        return self.last_event_id is not None or not completion.frees_key

    def stops_unread(self, leave: Leave) -> bool:
        """Return whether its completion is stopped once nobody reads it, by the setting `leave`."""
        is_named = self.idempotency_key or self.stream
        stops = leave == "stop" or (leave == "stop-unnamed" and not is_named)
        return stops and not self.in_background

    def check_begin(self, offset: str | None) -> None:
        """Raise StreamGone if its client has events, but not of the completion before the offset.

        A new completion would begin there; None is in a new stream. The provider is not called yet.
        """
        if self.last_event_id is not None and self.last_event_id != offset:
            raise StreamGone(OF_OTHER_ANSWER)


def owner_of_account(account: str) -> bytes:
    """Return the owner of an account's completions; b"" for no account."""
    return b"principal:" + account.encode() if account else b""


def owner_of_keys(keys: Sequence[str]) -> bytes:
    """Return the owner of the completions of who sends all these keys of a provider."""
    return b"key:" + "\n".join(keys).encode() if keys else b""


def sent_keys(headers: MultiMapping[str]) -> list[str]:
    """Return all keys of a provider that a request sends: some providers take one, some another."""
    keys = {key for name in PROVIDER_KEYS for key in headers.getall(name, ())}
    if token := bearer(headers):
        keys.add(token)
    return sorted(keys)


class CompletionProvider(ABC):
    """The provider of a route's completions, which is called once for each."""

    def __init__(self, prefix: str, leave: Leave) -> None:
        """Set the prefix of the route, and its setting for completions that nobody reads."""
        self.prefix = prefix
        self.leave = leave

    @abstractmethod
    async def call(self, request: CompletionRequest) -> ProviderResponse:
        """Return the response to a request once its head has come. Raises HeadgateError."""

    @abstractmethod
    async def read_response(
        self, response: ProviderResponse, request: CompletionRequest
    ) -> StoredResponse | WholeResponse:
        """Return a response as it is to be stored, or whole if it is not. Raises HeadgateError."""


LAST_EVENT_ID = "Last-Event-ID"
LONGEST_KEY = 256  # characters of a key or its prefix; the UUIDs of SDKs have 36
_KEY_FIELDS = (IDEMPOTENCY_KEY, KEY_PREFIX_FIELD)
_STREAM_PART = f"{STREAM_FIELD.lower()}="  # of a query
_STREAM_NAME = re.compile(r"(?!record$)[A-Za-z0-9][A-Za-z0-9._~-]{0,127}")


def named_stream(headers: MultiMapping[str], target: str) -> tuple[str | None, str]:
    """Return the name that a request gives its stream, and the target without it.

    Raises BadRequest.
    """
    parts, rest = taken_out(target, lambda part: part.startswith(_STREAM_PART))
    names = {part.removeprefix(_STREAM_PART) for part in parts}
    names.update(headers.getall(STREAM_FIELD, ()))
    if len(names) > 1 or any(_STREAM_NAME.fullmatch(name) is None for name in names):
        raise BadRequest(
            f"{STREAM_FIELD} must be one name of up to 128 letters, digits, '-', '.', '_' and '~', "
            "which begins with a letter or a digit and is not 'record'"
        )
    return (names.pop() if names else None), rest


def is_named(headers: MultiMapping[str], stream: str | None) -> bool:
    """Return whether a request names its completion: by its stream, a key or the prefix of one."""
    return stream is not None or has_key(headers)


def has_key(headers: MultiMapping[str]) -> bool:
    """Return whether a request may join an earlier one, by a key or the prefix of one."""
    return any(field in headers for field in _KEY_FIELDS)


def with_key(asked: CompletionRequest, headers: MultiMapping[str]) -> CompletionRequest:
    """Return a request with its Idempotency-Key, or one of its prefix and what it asks for.

    No field has a line end, so no key that a client sends is equal to one that is made here.
    Raises BadRequest.
    """
    key, prefix = (_key(headers, field) for field in _KEY_FIELDS)
    if prefix and (key or not asked.owner):
        raise BadRequest(
            f"{KEY_PREFIX_FIELD} makes the key of each request: send it without {IDEMPOTENCY_KEY}, "
            "and with a token, or with the provider's key of a caller"
        )
    return asked._replace(idempotency_key=f"{prefix}\n{asked.body.digest}" if prefix else key)


def last_event_id(headers: MultiMapping[str]) -> str | None:
    """Return the id of the last event that a client has; None if it has none. Raises BadRequest."""
    last = headers.get(LAST_EVENT_ID)
    if not last or last == BEGINNING:
        return None
    parse_offset(last, LAST_EVENT_ID)
    return last


def _key(headers: MultiMapping[str], field: str) -> str | None:
    keys = headers.getall(field, ())
    if len(keys) > 1 or any(len(key) > LONGEST_KEY for key in keys):
        raise BadRequest(f"{field} must be given once, with {LONGEST_KEY} characters at most")
    return keys[0] or None if keys else None


class BodyChoices(NamedTuple):
    """The choices of a body; one that cannot be read has none, and the provider judges it."""

    stream: bool = False
    model: str | None = None
    background: bool = False


class _Body(msgspec.Struct):
    """The members of a body that decide; all others are skipped."""

    stream: Any = None
    model: msgspec.Raw = msgspec.Raw(b"null")
    background: Any = None


_body = msgspec.json.Decoder(_Body).decode


def choices_in(body: bytes) -> BodyChoices:
    """Return what a body asks for, also if only lenient parsers take it."""
    text = body.removeprefix(BOM)
    try:
        found = decoded_json(text, _body)
        model = bytes(found.model)
    except NOT_JSON:
        try:
            found = decoded_json(_strict(text), _body)
        except NOT_JSON:
            return BodyChoices()
        model = bytes(found.model)
        if any(strict in model for _, strict in _LENIENT):
            model = b""  # it may be another one than was sent
    return BodyChoices(
        found.stream is True,
        decoded_json(model, _text) if model[:1] == b'"' else None,
        found.background is True,
    )


_text = msgspec.json.Decoder(str).decode


def _strict(text: bytes) -> bytes:
    """Return JSON without what only lenient parsers take: halves of surrogate pairs, NaN, Infinity.

    It is replaced in strings as well, but what replaces it makes none of the names.
    """
    for lenient, strict in _LENIENT:
        text = text.replace(lenient, strict)
    return text


# All surrogates, in pairs as well, are other characters, which are not ASCII.
_LENIENT = ((b"\\ud", b"\\u1"), (b"\\uD", b"\\u1"), (b"NaN", b"0e0"), (b"Infinity", b"0e0"))
