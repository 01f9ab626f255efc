"""Subscriptions: cursors over many streams that wake workers."""

from __future__ import annotations

from headgate_gateway.command_declaration import CommandDeclaration
from headgate_gateway.features.kinds.declaration import FeatureKind, FirstUse
from headgate_gateway.protocol.http.paths import RESERVED

KIND = FeatureKind(
    name="subscriptions",
    of_log="headgate_gateway.features.subscriptions.setup:subscriptions_in_log",
    first_use=FirstUse(
        control=RESERVED,
        stored="headgate_gateway.features.subscriptions.delivery.documents:has_documents",
    ),
    questions="headgate_gateway.features.questions.subscriptions:SubscriptionQuestion",
    answer="headgate_gateway.features.subscriptions.subscription_handlers:answer_operator",
    commands=(
        CommandDeclaration(
            "stream",
            "subscriptions",
            "headgate_gateway.commands.stream.subscriptions:subscriptions",
            "List and change subscriptions.",
        ),
    ),
    page="headgate_admin.pages.features.subscriptions:PAGE",
)
