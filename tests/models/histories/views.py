"""What the views of an answer say, compared with what its other readers got."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.models.histories.judge import call_of
from tests.models.histories.messages import is_error, said

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.models.histories.messages import Event
    from tests.models.histories.world import Answer, World

# The type of a delta, those that end a failed answer, and those that end any.
KINDS = {
    "view ai-sdk": ("text-delta", ["error"], ["finish"]),
    "view ag-ui": ("TEXT_MESSAGE_CONTENT", ["RUN_ERROR"], ["RUN_ERROR", "RUN_FINISHED"]),
}


def judge_views(
    world: World, answer: Answer, results: Mapping[str, Any], starts: Sequence[int]
) -> None:
    """Report a view that has another text, or another end, than the answer."""
    joined: list[Event] = next(results[name] for name in results if name.startswith("join"))
    call = call_of(answer, joined, starts)
    if call is None:
        return
    has_error = any(is_error(event) for event in joined)
    text = answer.plan(call).text
    for name, result in results.items():
        found, may_be_cut = None, has_error
        if name == "view text":
            # A gateway that stops ends the response; a trailer field says that there is more.
            found, may_be_cut = result, has_error or world.is_disturbed(answer.began)
        elif name in KINDS:
            found = _text_of(world, answer, name, result, has_error=has_error)
        elif name == "view sse" and (said(result[:-1]) != said(joined) or result[-1][0] != "end"):
            world.report(f"{answer.name}: {name} differs: {result[-2:]} {joined[-1:]}")
        if found is not None and not _is_same(found, text, may_be_cut=may_be_cut):
            world.report(f"{answer.name}: {name} has another text: {found[-80:]!r}")


def _is_same(found: str, text: str, *, may_be_cut: bool) -> bool:
    return found == text or (may_be_cut and text.startswith(found))


def _text_of(
    world: World, answer: Answer, name: str, events: Sequence[Event], *, has_error: bool
) -> str:
    delta, failures, ends = KINDS[name]
    chunks = [json.loads(data) for _, data in events if data != "[DONE]"]
    kinds = Counter(chunk["type"] for chunk in chunks)
    has_failed = any(kinds[kind] for kind in failures)
    if sum(kinds[kind] for kind in ends) != 1 or has_failed != has_error:
        world.report(f"{answer.name}: {name} ends with {dict(kinds)}, error: {has_error}")
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == delta)
