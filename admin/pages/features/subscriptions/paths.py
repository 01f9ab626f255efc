"""The path of the page, and the words for what subscriptions are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.features.questions.subscriptions import SubscriptionStatus

PATH = "/subscriptions"
LEVELS: dict[SubscriptionStatus, str] = {
    "active": "good",
    "failed": "bad",
    "stuck": "bad",
    "paused": "warning",
}
