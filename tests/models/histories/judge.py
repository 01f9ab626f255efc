"""What was promised about an answer, compared with what its clients got."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.models.histories import readers
from tests.models.histories.messages import (
    END,
    complete_part,
    events_of,
    has_end,
    is_beginning,
    said,
    without_errors,
)
from tests.models.histories.world import BROKEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.models.histories.messages import Event, Said
    from tests.models.histories.world import Answer, World


async def read_all(world: World, path: str, query: str = "", offset: str = "-1") -> bytes:
    """Return the bytes of a stream from an offset to its present end."""
    raw = b""
    for _ in range(600):
        url = f"{world.base()}{path}?offset={offset}{query}"
        try:
            async with world.session.get(url) as response:
                body = await response.read()
                if response.status == 200:
                    world.note(url, response, body)
                    raw += body
                    offset = response.headers["Stream-Next-Offset"]
                    if "Stream-Up-To-Date" in response.headers:
                        return raw
                    continue
                if response.status not in readers.MAY_COME_AGAIN:
                    return raw
        except BROKEN:
            pass
        await asyncio.sleep(0.1)
    world.report(f"{path} cannot be read")
    return raw


def call_of(answer: Answer, events: Sequence[Event], starts: Sequence[int]) -> int | None:
    """Return the call whose answer this is the beginning of; None if there is none."""
    found = said(without_errors(events)[0])
    for call in starts:
        if is_beginning(found, expected(answer, call)):
            return call
    return None


def expected(answer: Answer, call: int) -> Said:
    """Return what the provider said in this call, apart from errors."""
    return said(without_errors(answer.plan(call).events)[0])


async def judge(
    world: World, answer: Answer, results: Mapping[str, list[Event]], calls: Mapping[str, object]
) -> None:
    """Report each promise that is broken for this answer."""
    starts: list[int] = calls["starts"].get(answer.name, [])  # type: ignore[attr-defined]
    is_disturbed = world.is_disturbed(answer.began)
    if len(starts) != 1 and not is_disturbed and not answer.is_stopped:
        world.report(f"{answer.name}: the provider answered calls {starts}")
    joined = next((events for name, events in results.items() if name.startswith("join")), [])
    call = call_of(answer, joined, starts)
    if call is None:
        world.report(
            f"{answer.name}: no call {starts} has {said(joined)[-3:]}, {len(joined)} events"
        )
        return
    whole = said(joined)
    for name, events in results.items():
        if name.startswith("join") or name in ("poll", "sse", "retrieve"):
            kept = [one for one in events if one[0] != END]
            if said(kept) != whole:
                world.report(f"{answer.name}: {name} differs: {_difference(said(kept), whole)}")
    _judge_end(world, answer, joined, call, is_disturbed=is_disturbed)
    if not answer.stream:
        await _judge_stream(world, answer, joined, call)
    await _judge_ids(world, answer)


def _difference(one: Said, other: Said) -> str:
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return f"at {at} of {len(one)}, {len(other)}: {left!r:.300} is not {right!r:.300}"
    return f"{len(one)} and {len(other)}: {one[-1:]!r:.300} is not {other[-1:]!r:.300}"


def _judge_end(
    world: World, answer: Answer, events: list[Event], call: int, *, is_disturbed: bool
) -> None:
    plan = answer.plan(call)
    rest, errors = without_errors(events)
    is_whole = said(rest) == expected(answer, call)
    planned = plan.fails or (plan.is_cut and not has_end(rest))
    if not is_disturbed and not answer.is_stopped:
        if not is_whole and not plan.is_cut:  # what came last may be lost with a connection
            world.report(f"{answer.name}: cut: {said(rest)[-1:]} {errors}")
        if bool(errors) != planned:
            world.report(f"{answer.name}: errors {errors}, plan: {plan.is_cut} {plan.fails}")
    elif not errors and not has_end(rest):
        world.report(f"{answer.name}: cut without an error: {said(rest)[-1:]}")
    if len(errors) > 1 + plan.fails:
        world.report(f"{answer.name}: several errors: {errors}")


async def _judge_stream(world: World, answer: Answer, joined: list[Event], call: int) -> None:
    raw = await read_all(world, answer.path)
    if said(events_of(raw)) != said(joined):
        world.report(f"{answer.name}: stored: {_difference(said(events_of(raw)), said(joined))}")
    rest, errors = without_errors(joined)
    # A gateway that is killed after the reason of the end loses what follows that.
    is_whole = not errors and said(rest) == expected(answer, call)
    if not errors and not answer.plan(call).pieces[0][1].startswith(b":"):
        wire = complete_part(b"".join(piece for _, piece in answer.plan(call).pieces))
        if raw != wire if is_whole else not wire.startswith(raw):
            world.report(f"{answer.name}: the bytes differ: {len(raw)} {len(wire)}")
    text = await readers.view_text(world, answer)
    if not answer.plan(call).text.startswith(text):
        world.report(f"{answer.name}: text differs: {text[-99:]!r}")
    if not errors and text != answer.plan(call).text:
        world.report(f"{answer.name}: text is short: {text[-99:]!r}")
    await _judge_record(world, answer, call, is_whole=is_whole)


async def _judge_record(world: World, answer: Answer, call: int, *, is_whole: bool) -> None:
    raw = await read_all(world, answer.path + "/record")
    entries = json.loads(raw or b"[]")
    tokens = answer.plan(call).tokens
    ends = [one for one in entries if "outcome" in one or "outcome" in str(one)]
    if len(ends) != 1:
        world.report(f"{answer.name}: record {entries}")
    elif is_whole and tokens:
        usage = ends[0].get("usage") or {}
        if (usage.get("input_tokens"), usage.get("output_tokens")) != tokens:
            world.report(f"{answer.name}: record {ends}, {tokens}")


async def _judge_ids(world: World, answer: Answer) -> None:
    """Go on from some ids: a join gives the same as a read of the stream from that offset."""
    for number in world.rng.sample(answer.ids, min(2, len(answer.ids))):
        stored = events_of(await read_all(world, answer.path, offset=number))
        ends = [at for at, one in enumerate(stored) if one[0] == END]
        stored = stored[: ends[0]] if ends else stored
        headers = {**answer.headers, "Last-Event-ID": number}
        for _ in range(200):
            try:
                async with world.session.post(
                    world.base() + answer.target, data=answer.body, headers=headers
                ) as response:
                    raw = await response.read()
                    if response.status in (200, 204):
                        break
                    if response.status not in (409, 502, 503):
                        world.report(f"{answer.name}: {response.status} from {number}: {raw!r}")
                        break
            except BROKEN:
                pass
            await asyncio.sleep(0.1)
        else:
            world.report(f"{answer.name}: no answer from {number}")
            continue
        if said(events_of(raw)) != said(stored):
            world.report(
                f"{answer.name}: from {number}: {_difference(said(events_of(raw)), said(stored))}"
            )
