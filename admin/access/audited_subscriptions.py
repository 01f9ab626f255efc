"""The changes of operators to subscriptions, each with its line in the audit log.

The URL of a webhook is in none of them: its path may be a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.access.audit import audited

if TYPE_CHECKING:
    import msgspec

    from admin.model.viewer import Viewer
    from admin.subscriptions import ConsoleSubscriptions
    from gateway.features.questions.subscriptions import (
        ReceiverTestResult,
        ReplayResult,
        ReplaySubscription,
        SubscriptionDescription,
    )


async def put(
    subscriptions: ConsoleSubscriptions, route: str, name: str, body: msgspec.Raw, by: Viewer
) -> SubscriptionDescription:
    """Create a subscription, or confirm it; return it. Raises NotTold."""
    with audited(by, "subscribe", route, name):
        return await subscriptions.put(route, name, body)


async def delete(subscriptions: ConsoleSubscriptions, route: str, name: str, by: Viewer) -> bool:
    """Delete a subscription; return whether it was there. Raises NotTold."""
    with audited(by, "delete the subscription", route, name) as logged:
        was_there = await subscriptions.delete(route, name)
        logged["was_there"] = int(was_there)
    return was_there


async def pause(
    subscriptions: ConsoleSubscriptions, route: str, name: str, by: Viewer, *, resumes: bool
) -> SubscriptionDescription:
    """Send no wakes any more, or again; return the subscription. Raises NotTold."""
    with audited(by, f"{'resume' if resumes else 'pause'} the subscription", route, name):
        return await subscriptions.pause(route, name, resumes=resumes)


async def replay(
    subscriptions: ConsoleSubscriptions, question: ReplaySubscription, by: Viewer
) -> ReplayResult:
    """Set cursors back; return how many. Raises NotTold."""
    with audited(by, "replay the subscription", question.route, question.id) as logged:
        logged["from"] = _start(question)
        logged["named"] = len(question.streams)
        done = await subscriptions.replay(question)
        logged |= {"streams": done.streams, "generation": done.generation}
    return done


def _start(question: ReplaySubscription) -> str:
    if question.offset is not None:
        return f"offset {question.offset[:100]}"
    return "the beginning" if question.since is None else f"time {question.since:.3f}"


async def test(
    subscriptions: ConsoleSubscriptions, route: str, name: str, by: Viewer
) -> ReceiverTestResult:
    """Send a test to the receiver of a webhook; return its answer. Raises NotTold."""
    with audited(by, "test the receiver of the subscription", route, name) as logged:
        answer = await subscriptions.test(route, name)
        logged["response"] = answer.status or answer.reason or ""
    return answer
