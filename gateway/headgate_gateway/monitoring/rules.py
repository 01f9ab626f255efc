"""The rules: recordings, alerts with their texts, and the parts of a configuration they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from headgate_gateway.monitoring.quantities import Threshold
    from headgate_gateway.settings import Settings

# One of `parts_of`: `log`, a kind of log, `quota`, `origin`, `subscriptions`, `workers`, `purges`,
# `access_files`, `tls`.
Part: TypeAlias = str


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """An expression recorded under a name of the form LEVEL:METRIC:OPERATION."""

    record: str
    expr: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, which fires when its condition has had a result for as long as `lasting`.

    The console evaluates a condition that is a `Threshold`; a text is PromQL for Prometheus alone.
    `critical` alerts wake somebody: readers or writers are not served, or data are lost.
    """

    name: str
    condition: Threshold | str
    lasting: str
    severity: Literal["warning", "critical"]
    summary: str
    description: str
    part: Part | None = None
    # The kind of the health notes about the same: one item together.
    check: str | None = None
    # The part of a text that the console can evaluate.
    plain_part: Threshold | None = None
    # What the console looks up and names, since metrics have no label for it.
    names: Literal["", "stream", "subscription", "read"] = ""
    # Shown below another incident of the same route, which has caused it.
    is_symptom: bool = False

    @property
    def expr(self) -> str:
        """The condition as Prometheus evaluates it."""
        return str(self.condition)

    @property
    def threshold(self) -> Threshold | None:
        """The condition that the console evaluates; None for a rule of Prometheus alone."""
        return self.plain_part if isinstance(self.condition, str) else self.condition

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
