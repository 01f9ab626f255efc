"""Who a route admits: which credentials it takes, and what everybody may do without one."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

from gateway.settings.kinds import Kind, split_list

Credentials = Literal["tokens", "jwt", "read-tokens"]
Allowed = Literal["read", "append", "create", "close", "delete"]
Visibility = Literal["auto", "public", "private"]
NOBODY_ASKED = ("none",)
BY_ORIGIN = ("origin",)
_TAKEN = frozenset(get_args(Credentials))
_ALONE = (NOBODY_ASKED, BY_ORIGIN)
_LIST = f"a list of {', '.join(get_args(Credentials))}"
AUTH_KIND = f"none, or {_LIST}"
ROUTE_AUTH_KIND = f"none, origin, or {_LIST}"
ANONYMOUS_KIND = f"a list of {', '.join(get_args(Allowed))}"


def _check_auth(value: object, *, words: str, alone: tuple[tuple[str, ...], ...]) -> object:
    """Kinds of credentials, or one word that stands alone; nothing where it is not said."""
    given = split_list(value)
    if not isinstance(given, list | tuple):
        raise ValueError(f"must be {words}")  # noqa: TRY004 - pydantic's way
    kinds = tuple(given)
    if kinds in alone or (_TAKEN.issuperset(kinds) and len(set(kinds)) == len(kinds)):
        return kinds
    raise ValueError(f"must be {words}")


def check_auth(value: object) -> object:
    """What the routes ask for that do not say so themselves."""
    return _check_auth(value, words=AUTH_KIND, alone=_ALONE[:1])


def check_route_auth(value: object) -> object:
    """What a route asks for."""
    return _check_auth(value, words=ROUTE_AUTH_KIND, alone=_ALONE)


# Empty where it is not said.
Auth = Annotated[tuple[str, ...], BeforeValidator(check_auth), Kind(AUTH_KIND)]
RouteAuth = Annotated[tuple[str, ...], BeforeValidator(check_route_auth), Kind(ROUTE_AUTH_KIND)]
Anonymous = Annotated[tuple[Allowed, ...], BeforeValidator(split_list), Kind(ANONYMOUS_KIND)]
