"""The contract of a dialect: how one family of providers is called, and how its answers end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from gateway.features.decoded import decoded_json
from gateway.features.models.sse_events import event_fields, events_of
from gateway.protocol.bodies.json_text import NOT_JSON
from gateway.protocol.http.header_names import PROVIDER_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import MultiMapping

    from gateway.features.models.dialects.progress import AnswerProgress


class EarlyEnd(NamedTuple):
    """The failure of an answer: a code for programs, and a sentence for people."""

    code: str
    sentence: str


class TokenUsage(msgspec.Struct):
    """The tokens that a provider counted for one answer; None while it has not said so."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    def update(self, input_tokens: object, output_tokens: object) -> None:
        """Take later counts for the same answer; what is no count changes nothing."""
        if isinstance(input_tokens, int):
            self.input_tokens = input_tokens
        if isinstance(output_tokens, int):
            self.output_tokens = output_tokens


class Dialect(Protocol):
    """The requests and events of one family of providers."""

    name: str
    # How the paths of POST requests end that a model answers: some providers have another folder
    # than /v1, such as one for each deployment.
    answer_ends: tuple[str, ...]
    retrieved_end: str | None = None  # of those whose answers can be retrieved by an id

    def key_fields(self, key: str) -> Mapping[str, str]:
        """Return the header fields by which the provider accepts a key."""

    def key_of(self, headers: MultiMapping[str]) -> str | None:
        """Return the key in a client's header fields, as the provider's SDK sends it."""

    def failure_event(self, path: str, failure: EarlyEnd, number: int) -> bytes:
        """Return the event by which the SDK raises an error amid the answer to `path`.

        It has this sequence number where events have one.
        """

    def state_of(self, path: str) -> AnswerProgress:
        """Return the progress of an answer to `path` that has no events yet."""

    def is_retrieved(self, path: str) -> bool:
        """Return whether the answers to `path` can be retrieved by an id."""
        return self.retrieved_end is not None and path.endswith(self.retrieved_end)


def data_objects(events: bytes, marker: bytes) -> list[object]:
    """Return the data of those events that contain `marker`, as far as they are JSON.

    Most events do not contain it, so they are not parsed.
    """
    if marker not in events:
        return []
    found: list[object] = []
    for event in events_of(events):
        if marker in event:
            with contextlib.suppress(*NOT_JSON):
                found.append(decoded_json(event_fields(event)[1] or b""))
    return found


def whole_body_event(body: bytes) -> bytes:
    """Return an event with the body of an answer that does not stream; b"" if it is no JSON."""
    try:
        return b"data: %b\n\n" % msgspec.json.encode(decoded_json(body))
    except NOT_JSON:
        return b""


def sent_keys(headers: MultiMapping[str]) -> list[str]:
    """Return all keys of a provider that a request sends: some providers take one, some another."""
    keys = {key for name in PROVIDER_KEYS for key in headers.getall(name, ())}
    if token := bearer(headers):
        keys.add(token)
    return sorted(keys)


def bearer(headers: MultiMapping[str]) -> str | None:
    """Return the token of `Authorization: Bearer TOKEN` (RFC 6750 section 2.1), or None."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
