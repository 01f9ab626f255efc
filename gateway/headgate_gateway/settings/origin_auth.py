"""The settings of `auth = "origin"`: an HTTP origin decides who may read."""

from __future__ import annotations

from typing import Annotated

from headgate_gateway.settings.auth import kinds_in_words, parse_kinds, shown_kinds, word_pattern
from headgate_gateway.settings.credential_kinds import names
from headgate_gateway.settings.log_settings import LogSettings
from headgate_gateway.settings.reading.kinds import ValueKind, redacted_origin
from headgate_gateway.settings.reading.tables import ValueContext, checks
from headgate_gateway.settings.reading.values import Converter, Serializer, TextPattern

_WORD = "origin"
BY_ORIGIN = (_WORD,)


def _parse(value: object) -> tuple[object, ...]:
    kinds = parse_kinds(value, (*names(), _WORD))
    if len(kinds) > 1 and _WORD in kinds:
        raise ValueError("must be origin by itself, which takes any credential, or not name it")
    return kinds


_KINDS = (*names(), _WORD)
RouteAuth = Annotated[
    tuple[Annotated[str, word_pattern(_KINDS)], ...],
    Converter(_parse),
    Serializer(shown_kinds),
    TextPattern(),
    ValueKind(kinds_in_words(_KINDS)),
]


class OriginAuthChecks(LogSettings):
    """The settings of a place of streams, and what of a route does not go with such an origin."""

    @checks("auth")
    @classmethod
    def _check_origin_can_decide(
        cls, auth: tuple[str, ...], context: ValueContext
    ) -> tuple[str, ...]:
        if _WORD in auth and (storage := context.values.get("storage")):
            shown = redacted_origin(storage)
            raise ValueError(f"must not have origin: {shown} is not an http origin that decides")
        return auth

    @checks("conceal")
    @classmethod
    def _check_gateway_decides(cls, value: str, context: ValueContext) -> str:
        if value == "on" and _WORD in (context.values.get("auth") or ()):
            raise ValueError("must be off: the origin refuses in its own words, and can conceal")
        return value

    @checks("anonymous")
    @classmethod
    def _check_origin_does_not_decide(
        cls, allowed: tuple[str, ...], context: ValueContext
    ) -> tuple[str, ...]:
        if allowed and context.values.get("auth") == BY_ORIGIN:
            raise ValueError("must be left out: the origin decides about everybody")
        return allowed
