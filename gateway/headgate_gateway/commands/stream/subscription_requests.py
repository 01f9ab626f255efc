"""The requests of the commands on subscriptions to an admin listener, and their output."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from headgate_gateway.features.questions.subscriptions import (
    SubscriptionDescription,
    SubscriptionSummary,
)
from headgate_gateway.tools.server.admin_requests import (
    admin_answer,
    admin_change,
    admin_deletion,
    decoded,
)
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.shell.amounts import counted
from headgate_gateway.tools.shell.output import finish, heading, line_form, write
from headgate_gateway.tools.shell.terminal import safe
from headgate_gateway.tools.shell.times import utc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.features.questions.subscriptions import LinkRow, WakeRow
    from headgate_gateway.tools.server.target import StreamTarget

PAGE = 500  # subscriptions, as many as the API gives at once
# Lines are written as they come, so each column is as wide as what is usual in it.
COLUMNS = "{:<6}  {:<9}  {:>7}  {:>7}  {:>8}  {:<32}  {}\n"
T = TypeVar("T")


class NamedSubscription(NamedTuple):
    """A subscription by the prefix of its route and its id."""

    route: str
    id: str


class _SetBack(msgspec.Struct):
    streams: int
    generation: int


class _SubscriptionList(msgspec.Struct):
    rows: list[msgspec.Raw]
    after: str | None = None


async def print_list(target: StreamTarget, query: Mapping[str, str], *, as_json: bool) -> None:
    """Print the subscriptions that fit the query, page by page."""
    form = line_form(COLUMNS)
    names = ("STATUS", "KIND", "STREAMS", "PENDING", "WAITS S", "WAKES", "ID")
    after = ""
    async with connect(target) as admin:
        while True:
            one_page = {**query, "limit": str(PAGE), **({"after": after} if after else {})}
            page = decoded(
                admin.shown,
                await admin_answer(admin, "api/v1/subscriptions", one_page),
                _SubscriptionList,
            )
            if not (after or as_json) and page.rows:
                heading(COLUMNS, *names)
            for raw in page.rows:
                line = f"{bytes(raw).decode()}\n" if as_json else form.format(*_cells(raw))
                write(safe(line).encode())
            if page.after is None:
                return
            after = page.after


def _cells(raw: msgspec.Raw) -> tuple[str, ...]:
    row = msgspec.json.decode(raw, type=SubscriptionSummary)
    age = "-" if row.oldest_at is None else f"{_now() - row.oldest_at:.0f}"
    woken = row.receiver or row.wake_stream or "-"
    return row.status, row.kind, str(row.streams), str(row.pending), age, woken, row.id


async def print_one(
    target: StreamTarget, place: NamedSubscription, *, only_pending: bool, as_json: bool
) -> None:
    """Print a subscription with its streams."""
    query = place._asdict() | ({"pending": "true"} if only_pending else {})
    async with connect(target) as admin:
        raw = await admin_answer(admin, "api/v1/subscription", query)
        found = decoded(admin.shown, raw, SubscriptionDescription)
    if as_json:
        write(safe(raw.decode()).encode())
        return
    row = found.row
    named: dict[str, object] = {
        "id": row.id,
        "status": row.status,
        "kind": row.kind,
        "pattern": row.pattern,
        "receiver": row.receiver,
        "wake stream": row.wake_stream,
        "owner": row.owner or "anybody",
        "description": found.description,
        "created": utc(found.created_at),
        "lease": f"{found.lease_ttl_ms / 1000:g} s",
        "generation": found.generation,
        "wake": _wake(found.wake),
        "streams": row.streams,
        "pending": row.pending,
        "waits since": utc(row.oldest_at),
        "paused": utc(found.paused_at),
        "failures": row.failures or None,
        "failing since": utc(found.failing_since),
        "last error": row.last_error,
        "next attempt": utc(found.next_attempt_at),
    }
    lines = [f"{name + ':':<15}{value}" for name, value in named.items() if value is not None]
    lines += ["", *(_link(it) for it in found.links)] if found.links else []
    if found.after is not None:
        lines.append(f"… and others behind {found.links[-1].stream}")
    write(safe("\n".join([*lines, ""])).encode())


def _wake(wake: WakeRow | None) -> str | None:
    if wake is None:
        return None
    if wake.lease_until is None:
        return "on its way" if not wake.announcements else "waits for a claim"
    return f"leased to {wake.holder or 'the receiver'} until {utc(wake.lease_until)}"


def _link(link: LinkRow) -> str:
    tail = "there is none yet" if link.tail is None else f"of {link.tail}"
    return f"{'pending' if link.is_pending else 'acked':<9}{link.acked} {tail}  {link.stream}"


def _now() -> float:
    return time.time()  # noqa: TID251 - of people


async def delete(target: StreamTarget, place: NamedSubscription, *, as_json: bool) -> None:
    """Delete a subscription, if it is there."""
    async with connect(target) as admin:
        await admin_deletion(admin, "api/v1/subscription", place._asdict())
    finish(f"There is no subscription {place.id} any more.", place._asdict() if as_json else None)


async def pause(
    target: StreamTarget, place: NamedSubscription, *, resumes: bool, as_json: bool
) -> None:
    """Have no wakes sent any more, or again."""
    path = "/resume" if resumes else "/pause"
    answer = await _change(target, path, place._asdict())
    decoded(target.shown, answer, SubscriptionDescription)
    sentence = (
        f"Wakes of {place.id} are sent again."
        if resumes
        else f"No wakes of {place.id} are sent until it is resumed. Nothing is lost."
    )
    finish(sentence, json.loads(answer) if as_json else None)


async def replay(
    target: StreamTarget, place: NamedSubscription, start: Mapping[str, object], *, as_json: bool
) -> None:
    """Set cursors back."""
    answer = await _change(target, "/replay", {**place._asdict(), **start})
    done = decoded(target.shown, answer, _SetBack)
    streams = counted(done.streams, "stream")
    sentence = f"The cursors of {streams} are set back. The generation is {done.generation}."
    finish(sentence, json.loads(answer) if as_json else None)


async def _change(target: StreamTarget, path: str, body: Mapping[str, object]) -> bytes:
    """Send a change and return the answer, which has all members of this version's API."""
    async with connect(target) as admin:
        sent = json.dumps(body).encode()
        return await admin_change(admin, "POST", f"api/v1/subscription{path}", {}, sent)
