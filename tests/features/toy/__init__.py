"""A feature from outside: `features = ["tests.features.toy"]` adds all of it."""

from __future__ import annotations

from headgate_gateway.command_declaration import CommandDeclaration
from headgate_gateway.features.kinds.declaration import FeatureKind, FirstUse
from tests.features.toy.section import GreetingSettings

KIND = FeatureKind(
    name="greeting",
    of_log="tests.features.toy.greeting:Greeting",
    first_use=FirstUse(control="__greeting"),
    section=GreetingSettings,
    page="tests.features.toy.page:PAGE",
    commands=(
        CommandDeclaration("", "greeting", "", "Greet, as the greeting feature does."),
        CommandDeclaration(
            "greeting", "say", "tests.features.toy.command:say", "Print a greeting."
        ),
    ),
)
