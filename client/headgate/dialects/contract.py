"""The dialects of models: what the events of one API say, and how it is called."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote

import msgspec
from typing_extensions import override

from headgate.dialects import NAMES
from headgate.dialects.parts import ModelFailed
from headgate.dialects.progress import AnswerProgress
from headgate.events import events_of, parse, written
from headgate.json_values import NOT_JSON, decoded_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from headgate.dialects.parts import Part
    from headgate.dialects.progress import Cursor, EarlyEnd

LONGEST_ID = 256  # characters; the ids of OpenAI have about 55


class Reader(Protocol):
    """The reader of one source's events, which may remember what came before."""

    def takes(self, event: dict[str, Any]) -> bool:
        """Return whether this reader reads the event."""

    def parts(self, event: dict[str, Any]) -> list[Part]:
        """Return the parts that the event adds to the answer: often none."""


class TypedReader(Reader):
    """A reader of events with a type, by a method for each type that adds anything."""

    type_field = "type"
    methods: Mapping[str, Callable[[dict[str, Any]], list[Part]]]

    @override
    def parts(self, event: dict[str, Any]) -> list[Part]:
        type_ = event[self.type_field]
        if type_ == "error":
            raise ModelFailed(event.get("error") or event)
        method = self.methods.get(type_)
        return [] if method is None else method(event)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The way to an answer by its id, for an API that has one: `PATH/ID` below its requests.

    Attributes:
        cursor_field: The parameter of a query with the cursor of the last event that came.
        parsed_cursor: Returns the cursor in a query. Raises ValueError with what it must be.
        whole: The field of an event that has the object of the answer, and so its id.
        markers: Words of which an event with the object has one: others are not decoded.
        object_after: Returns the object after an event; None if events do not have it whole.
    """

    cursor_field: str
    parsed_cursor: Callable[[str], Cursor]
    whole: str
    markers: tuple[bytes, ...]
    object_after: Callable[[dict[str, Any] | None, object], dict[str, Any] | None] = (
        lambda _before, _event: None
    )

    def id_in(self, event: object) -> str | None:
        """Return the id of the answer, if the data of an event have it."""
        if not isinstance(event, dict):
            return None
        whole = event.get(self.whole)
        found = whole.get("id") if isinstance(whole, dict) else event.get(f"{self.whole}_id")
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class Dialect:
    """The events of one API. Without any field it is of bodies that are no events.

    Attributes:
        answer_ends: The ends of the paths of POST requests that a model answers: some providers
            have another folder than /v1, such as one for each deployment.
        reader: Makes a reader of the parts in the events of one source.
        progress: Makes the progress of an answer without events so far.
        failure: Returns the data of the event by which the SDK raises an error amid an answer. It
            has the sequence number where events have one.
        retrieval: The way to an answer by its id, if there is one.
    """

    answer_ends: tuple[str, ...] = ()
    reader: Callable[[], Reader] | None = None
    progress: Callable[[], AnswerProgress] = AnswerProgress
    failure: Callable[[EarlyEnd, int], dict[str, object]] | None = None
    retrieval: Retrieval | None = None

    def failure_event(self, failure: EarlyEnd, number: int) -> bytes:
        """Return the event by which the SDK raises an error amid an answer; b"" for no dialect."""
        if self.failure is None:
            return b""
        data = self.failure(failure, number)
        # The events of APIs whose events have types are named by these.
        has_type = "type" in data or "event_type" in data
        return written(msgspec.json.encode(data), name=b"error" if has_type else b"")

    def response_id(self, events: bytes) -> str | None:
        """Return the id of the answer in the first of some events that has one."""
        if self.retrieval is None:
            return None
        found = (self.retrieval.id_in(it) for it in _values(events, self.retrieval.markers))
        return next((id_ for id_ in found if id_ and len(id_) <= LONGEST_ID), None)

    def object_after(self, before: dict[str, Any] | None, events: bytes) -> dict[str, Any] | None:
        """Return the object of the answer after some more events; None if they do not have it."""
        if self.retrieval is not None:
            for event in _values(events, self.retrieval.markers):
                before = self.retrieval.object_after(before, event)
        return before


class Provider(NamedTuple):
    """A family of providers: how it is called, and the dialects of its APIs.

    `key_fields` are the names of the header fields that may have a key. It is sent in the first.
    """

    key_fields: tuple[str, ...]
    dialects: tuple[Dialect, ...]

    def fields_with(self, key: str) -> Mapping[str, str]:
        """Return the header fields by which the provider accepts a key."""
        name = self.key_fields[0]
        return {name: f"Bearer {key}" if name == "Authorization" else key}

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """Return the key in a client's header fields, as the provider's SDK sends it."""
        found = (
            bearer(headers) if name == "Authorization" else headers.get(name)
            for name in self.key_fields
        )
        return next((key for key in found if key), None)

    def dialect_at(self, path: str) -> Dialect | None:
        """Return the dialect of the answers to requests at a path; None if it has none."""
        return next((it for it in self.dialects if path.endswith(it.answer_ends)), None)

    def retrieved_at(self, path: str) -> tuple[str, str] | None:
        """Return the id and the action in the path of a retrieved answer; None for other paths."""
        for dialect in self.dialects:
            for end in dialect.answer_ends if dialect.retrieval is not None else ():
                if f"{end}/" in path:
                    id_, _, action = path.partition(f"{end}/")[2].partition("/")
                    return unquote(id_)[: LONGEST_ID + 1], action
        return None


@cache
def provider(name: str) -> Provider:
    """Return the family of providers with this name, one of NAMES."""
    found: Provider = importlib.import_module(f"headgate.dialects.providers.{name}").PROVIDER
    return found


@cache
def dialects() -> tuple[Dialect, ...]:
    """Return all dialects."""
    return tuple(dialect for name in NAMES for dialect in provider(name).dialects)


def dialect_at(path: str) -> Dialect:
    """Return the dialect of an answer to a request at `path`; one without fields if it has none."""
    return next((it for it in dialects() if path.endswith(it.answer_ends)), Dialect())


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the token of `Authorization: Bearer TOKEN` (RFC 6750 section 2.1), or None."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _values(events: bytes, markers: Sequence[bytes]) -> Iterator[object]:
    """Yield the values of those events whose data are JSON, and have one of some words."""
    if not any(it in events for it in markers):
        return
    for block in events_of(events):
        event = parse(block) if any(it in block for it in markers) else None
        if event is None:
            continue
        try:
            yield decoded_json(event.data)
        except NOT_JSON:
            continue
