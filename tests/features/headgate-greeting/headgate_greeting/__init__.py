"""A feature from outside: `features = ["headgate_greeting"]` adds all of it."""

from __future__ import annotations

from headgate_gateway.command_declaration import CommandDeclaration
from headgate_gateway.features.kinds.declaration import FeatureKind, FirstUse
from headgate_greeting.section import GreetingSettings

KIND = FeatureKind(
    name="greeting",
    of_log="headgate_greeting.greeting:Greeting",
    first_use=FirstUse(control="__greeting"),
    section=GreetingSettings,
    questions="headgate_greeting.questions:CountGreetings",
    answer="headgate_greeting.greeting:answer",
    page="headgate_greeting.page:PAGE",
    commands=(
        CommandDeclaration("", "greeting", "", "Greet, as the greeting feature does."),
        CommandDeclaration("greeting", "say", "headgate_greeting.command:say", "Print a greeting."),
    ),
)
