"""The changes of operators to subscriptions, each with its line in the audit log.

The URL of a webhook is in none of them: its path may be a password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.access.audit import audited

if TYPE_CHECKING:
    from admin.model.viewer import Viewer
    from admin.subscriptions import ConsoleSubscriptions
    from gateway.features.questions.subscriptions import (
        ReplayResult,
        ReplaySubscription,
        SubscriptionDescription,
    )


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
        offset = question.offset
        logged["from"] = "the beginning" if offset is None else f"offset {offset[:100]}"
        logged["named"] = len(question.streams)
        done = await subscriptions.replay(question)
        logged |= {"streams": done.streams, "generation": done.generation}
    return done
