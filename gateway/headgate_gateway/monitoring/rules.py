"""The rules: recordings, alerts with their texts, and the parts of a configuration they are for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal, TypeAlias

from headgate_gateway.monitoring.quantities import seconds

if TYPE_CHECKING:
    from headgate_gateway.settings import Settings

# One of `parts_of`: `log`, a kind of log, `quota`, `origin`, `subscriptions`, `workers`, `purges`,
# `access_files`, `tls`.
Part: TypeAlias = str
# A range of a selector, and the window in the name of what is recorded.
_WINDOWS = re.compile(r"\[(\d+[smhd])\]|_rate(\d+[smhd])\b")


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """An expression recorded under a name of the form LEVEL:METRIC:OPERATION."""

    record: str
    expr: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, which fires when its condition has had a result for as long as `lasting`.

    `critical` alerts wake somebody: readers or writers are not served, or data are lost.
    """

    name: str
    expr: str  # the condition, as Prometheus evaluates it
    lasting: str
    severity: Literal["warning", "critical"]
    summary: str
    description: str
    part: Part | None = None
    # The kind of the health notes about the same: one item together.
    check: str | None = None
    # The codes of their causes, where several rules are about notes of one kind.
    causes: tuple[str, ...] = ()
    # What the console looks up and names, since metrics have no label for it.
    names: Literal["", "stream", "subscription", "read", "origin"] = ""
    # Expressions of what it says then.
    figures: tuple[str, ...] = ()
    # Shown below another incident of the same route, which has caused it.
    is_symptom: bool = False
    # The summary of an alert that is over; "" if the summary is in the past tense itself.
    past: str = ""
    # The condition, over a part of its window, for the console to go on showing an alert; "" if it
    # is that of the rule. Near the bound, a part of a window has too few events of a few a minute.
    still: str = ""

    @property
    def window_s(self) -> int:
        """The longest window that the condition looks back on, also by a recorded name; or 0."""
        return max(map(seconds, filter(None, chain(*_WINDOWS.findall(self.expr)))), default=0)

    @property
    def anchor(self) -> str:
        """The fragment of the section that says what to do."""
        return self.name.lower()


def parts_of(settings: Settings) -> frozenset[Part]:
    """Return the parts that a configuration has, so that no alert watches what is not there."""
    routes = settings.route_table
    has = {
        "log": any(not route.is_http for route in routes),
        "origin": any(route.is_http for route in routes),
        "quota": any(route.max_storage_size for route in routes),
        "subscriptions": any(not route.is_http for route in routes),
        "workers": settings.workers > 1,
        "purges": bool(settings.purges),
        "tls": bool(settings.tls.certificate or settings.admin.tls.certificate),
        "access_files": bool(settings.credentials.tokens_file or settings.credentials.keys_file)
        or any(not issuer.is_remote for issuer in settings.credentials.jwt_issuers),
    }
    kinds = (route.log_kind.name for route in routes if route.log_kind is not None)
    return frozenset((*kinds, *(part for part, is_there in has.items() if is_there)))
