"""Examines real servers as `headgate doctor redis` does, without a process of its own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from headgate_gateway.settings import Route
from headgate_gateway.tools.redis_doctor.asking import ask
from headgate_gateway.tools.redis_doctor.report import examine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.tools.redis_doctor.facts import RedisFinding, ServerFacts


def route_to(url: str, **settings: object) -> Route:
    return Route.of({"prefix": "/r", "storage": url, **settings})


def found(url: str, **settings: object) -> list[RedisFinding]:
    """Everything that is found in the Redis of a URL."""
    return [it for part in examine(ask(route_to(url, **settings))) for it in part.findings]


def only(findings: Iterable[RedisFinding], about: str, words: str) -> RedisFinding:
    """The one finding about something that has these words in it."""
    told = [it for it in findings if it.about == about and words in it.says]
    assert len(told) == 1, [dataclasses.astuple(it) for it in findings]
    return told[0]


def facts(url: str, **settings: object) -> ServerFacts:
    return ask(route_to(url, **settings)).servers[0]
