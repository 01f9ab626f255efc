"""The settings of the admin listener: the console, health checks and metrics."""

from __future__ import annotations

from typing import Annotated

from headgate.hosts import is_loopback
from headgate_gateway.settings.arrays.access import TOKENS_KIND, USERS_KIND, AdminToken, AdminUser
from headgate_gateway.settings.arrays.repeated import repeated
from headgate_gateway.settings.reading.kinds import Address, Listen, ValueKind
from headgate_gateway.settings.reading.reload_effects import AT_ONCE, FIXED
from headgate_gateway.settings.reading.tables import Section, ValueContext, checks, section, setting
from headgate_gateway.settings.reading.values import Mistaken
from headgate_gateway.settings.sections.tls import ListenerTls


class AdminSettings(Section):
    """The settings of the admin listener; an address alone is its `listen`."""

    short = "listen"

    users: Annotated[tuple[AdminUser, ...], ValueKind(USERS_KIND)] = setting(
        (),
        description="Users who sign in to the admin listener with a password.",
        reload="yes; who is changed or removed has to sign in again",
    )
    tokens: Annotated[tuple[AdminToken, ...], ValueKind(TOKENS_KIND)] = setting(
        (),
        description="Scripts that use the admin listener with a bearer token.",
        reload=AT_ONCE,
    )
    listen: Listen = setting(
        Address("127.0.0.1", 4439),
        description="Address of the listener for the console, health checks and metrics. "
        "Everybody who reaches it is an operator while there are no users and tokens, so it is "
        "then on loopback.",
        reload=FIXED,
    )
    tls: ListenerTls = section("TLS on the admin listener; its files may be those of [tls].")

    @checks("users", "tokens")
    @classmethod
    def _check_names_differ(
        cls, admitted: tuple[AdminUser | AdminToken, ...], context: ValueContext
    ) -> tuple[AdminUser | AdminToken, ...]:
        twice = [*repeated(admitted, "name", lambda one: (one.name,), f"admin.{context.key}")]
        if twice:
            raise Mistaken(twice)
        return admitted

    @checks("listen")
    @classmethod
    def _check_is_guarded(cls, listen: Address, context: ValueContext) -> Address:
        """Raise ValueError if the console is open to the network without credentials."""
        credentials = [context.values.get(key) for key in ("users", "tokens")]
        if not any(credentials) and None not in credentials and not is_loopback(listen.host):
            raise ValueError(
                "must be on loopback, such as 127.0.0.1:4439, while there are no admin.users "
                "and no admin.tokens: everybody who reaches it would be an operator"
            )
        return listen
