"""Subscriptions: cursors over many streams that wake workers."""

from __future__ import annotations

from gateway.command_declaration import CommandDeclaration
from gateway.features.kinds.declaration import FeatureKind, FirstUse
from gateway.protocol.http.paths import RESERVED

KIND = FeatureKind(
    name="subscriptions",
    of_log="gateway.features.subscriptions.setup:subscriptions_in_log",
    first_use=FirstUse(
        control=RESERVED, stored="gateway.features.subscriptions.delivery.documents:has_documents"
    ),
    questions="gateway.features.questions.subscriptions:SubscriptionQuestion",
    answer="gateway.features.subscriptions.subscription_handlers:answer_operator",
    commands=(
        CommandDeclaration(
            "stream",
            "subscriptions",
            "gateway.commands.stream.subscriptions:subscriptions",
            "List and change subscriptions.",
        ),
    ),
    page="admin.pages.features.subscriptions:PAGE",
)
