"""Subscriptions: cursors over many streams that wake workers."""

from __future__ import annotations

from typing import get_args

from gateway.command_declaration import CommandDeclaration
from gateway.features.kinds.declaration import FeatureKind
from gateway.features.questions.subscriptions import SubscriptionQuestion

KIND = FeatureKind(
    name="subscriptions",
    is_wanted=lambda route: not route.is_http or bool(route.subscriptions),
    of_log="gateway.features.subscriptions.setup:set_subscriptions",
    questions=get_args(SubscriptionQuestion),
    answer="gateway.features.subscriptions.subscription_handlers:answer_operator",
    of_origin="gateway.features.subscriptions.origins.setup:set_subscriptions",
    commands=(
        CommandDeclaration(
            "stream",
            "subscriptions",
            "gateway.commands.stream.subscriptions:subscriptions",
            "List and change subscriptions.",
        ),
    ),
)
