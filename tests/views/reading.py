"""Views as clients read them: events with their ids, and the parts behind the last id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate_gateway.features.views.renderers import ViewRenderer
from tests.support.serving import get, offset, post, put

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.support.http1 import Client
    from tests.support.serving import Serving

VIEWS = ("sse", "ai-sdk", "ag-ui", "text")
EVENTS = "text/event-stream"
JSON = "application/json"


class ViewEvent(NamedTuple):
    """A server-sent event of a view; `id` is None where no reader can resume."""

    id: str | None
    name: str
    data: str


def view_events(body: bytes) -> list[ViewEvent]:
    """Return the complete events in the bytes of a view."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            fields.setdefault(name, []).append(value)
        fields.pop("", None)
        if "data" in fields:
            id_, name = fields.get("id", [None])[0], fields.get("event", [""])[0]
            found.append(ViewEvent(id_, name or "", "\n".join(fields["data"])))
    return found


def complete(events: Sequence[ViewEvent]) -> tuple[list[ViewEvent], str | None]:
    """Return the events up to the last id, and this id: what a client keeps when it is cut."""
    last = max((number for number, one in enumerate(events, 1) if one.id), default=0)
    return list(events[:last]), events[last - 1].id if last else None


def values(events: Iterable[ViewEvent]) -> list[Any]:
    """Return the JSON values in the data of events."""
    return [json.loads(one.data) for one in events if one.data != "[DONE]"]


def summed(body: bytes) -> list[Any]:
    """Return the values in the events of a view, with neighbouring deltas of a part added up."""
    found: list[Any] = []
    for value in values(view_events(body)):
        name = next((name for name in ("delta", "inputTextDelta") if name in value), None)
        last = found[-1] if found else {}
        if name in last and {**last, name: ""} == {**value, name: ""}:
            found[-1] = {**value, name: last[name] + value[name]}
        else:
            found.append(value)
    return found


def rendered(
    view: str, records: Sequence[bytes], content_type: str = EVENTS, *, closed: bool = True
) -> bytes:
    """Return the view of a stream with these records."""
    renderer, end, parts = ViewRenderer(view, content_type, "s", list[int]().append), 0, []
    for record in records:
        end += len(record)
        parts += [group.data for group in renderer.groups(record, end, offset) if group]
    if closed:
        parts += [group.data for group in renderer.closing(end, offset)]
    return b"".join(parts)


async def written(
    gateway: Serving,
    records: Sequence[bytes],
    content_type: str = EVENTS,
    *,
    closed: bool = True,
    name: str = "s",
) -> None:
    """Create a stream with these records, each appended by itself."""
    assert (await gateway.ask(put(name, content_type=content_type))).status == 201
    for record in records:
        answer = await gateway.ask(post(name, record, content_type=content_type))
        assert answer.status == 204, answer
    if closed:
        await close(gateway, name)


async def close(gateway: Serving, name: str = "s") -> None:
    """Close a stream."""
    assert (await gateway.ask(post(name, b"", "Stream-Closed: true"))).status == 204


async def follow(gateway: Serving, target: str, *lines: str) -> Client:
    """Begin to read a view of an open stream."""
    client = await gateway.connect()
    client.send(get(target, *lines))
    head = await client.head()
    assert (head.status, head.get("transfer-encoding")) == (200, "chunked"), head
    return client


async def to_the_end(client: Client) -> bytes:
    """Return the rest of the body of a view that the server ends properly."""
    return b"".join(await client.chunks())
