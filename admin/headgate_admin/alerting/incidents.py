"""Incidents: a cause that needs attention, with its symptoms, its mute and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from headgate_admin.alerting.findings import Failovers
from headgate_admin.alerting.next_steps import next_step
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import HealthState
from headgate_admin.model.overview import Attention, Mute, Symptom
from headgate_gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headgate_admin.alerting.findings import IncidentFinding
    from headgate_admin.model.kinds import Level
    from headgate_gateway.telemetry.metrics import Sample

MUTED_S = 1800.0
ENDED_S = 3600.0  # an incident is shown for as long after its end
MOST_ENDED = 10
RECENT_S = 30.0  # for as long an alert on a window may show what its cause had led to
_ORDER: dict[Level, int] = {"bad": 0, "warning": 1, "good": 2}


class Incidents:
    """The incidents that go on, the worst first, and those that ended within the last hour.

    A symptom that outlasts its cause is an incident of its own. An incident is as severe as its
    worst symptom. Those that are muted come last. `relieved` are the routes with a cause that ended
    at the last update: requests that failed before are a part of the past.
    """

    def __init__(self) -> None:
        self.settings = Settings()  # of the commands that operators copy
        self.attention: tuple[Attention, ...] = ()
        self.ended: tuple[Attention, ...] = ()
        self._begun: dict[str, float] = {}
        self._causes: dict[str, str] = {}  # ids of incidents, by the ids of their symptoms
        self._past: dict[str, str] = {}  # the sentences of what goes on, for its end
        self._over: dict[str, float] = {}  # until when a symptom may be of a cause that is over
        self.relieved: set[str] = set()
        self._failovers = Failovers()
        self._mutes: dict[str, tuple[Attention, Mute]] = {}  # the incident as it was muted

    def update(
        self, now: float, found: Sequence[IncidentFinding], samples: Iterable[Sample] = ()
    ) -> None:
        """Take what was found; an incident that is not among it any more has ended.

        The metrics say which failovers were over before they could be seen.
        """
        over = (it for it in found if it.ended_at is not None)
        findings = [it for it in found if it.ended_at is None]
        findings.sort(key=lambda it: (_ORDER[it.level], it.key))
        self._note_begun(now, findings)
        symptoms = self._symptoms(now, findings)
        shown = [
            self._attention(it, symptoms.pop(it.id, ()))
            for it in findings
            if it.id not in self._causes and self._over.get(it.id, -RECENT_S) < now
        ]
        before, self.attention = self.attention, tuple(shown)
        self._end(now, before, (*self._failovers.found(now, samples), *over))
        self._past = {it.id: it.past for it in findings}
        shown_now = {it.id: it for it in self.attention}
        self._mutes = {
            identity: (muted, mute)
            for identity, (muted, mute) in self._mutes.items()
            if mute.until > now and _is_no_worse(shown_now.get(identity), muted)
        }
        self._show_mutes()

    def _note_begun(self, now: float, findings: Iterable[IncidentFinding]) -> None:
        former, self._begun = self._begun, {}
        for it in findings:
            # A clock that was set back puts moments before that into the future.
            self._begun[it.id] = min(it.since or former.get(it.id, now), now)

    def _symptoms(
        self, now: float, findings: Sequence[IncidentFinding]
    ) -> dict[str, list[IncidentFinding]]:
        """Return the symptoms by the id of their incident."""
        by_route: dict[str | None, str] = {}
        # Of symptoms alone, what the last requests got says more than a share of them.
        ordered = sorted(findings, key=lambda it: it.is_symptom and 1 + (it.key[0] == "alert"))
        for it in ordered:
            if it.route is not None and not it.caused_by:
                by_route.setdefault(it.route, it.id)
        former, self._causes, self.relieved = self._causes, {}, set()
        self._over = {it: until for it, until in self._over.items() if until >= now}
        symptoms: dict[str, list[IncidentFinding]] = {}
        for it in ordered:
            cause = it.caused_by
            if it.is_symptom and not cause:
                first = by_route.get(it.route, it.id)
                cause = "" if first == it.id else self._causes.get(first, first)
            if cause:
                self._causes[it.id] = cause
                symptoms.setdefault(cause, []).append(it)
            elif it.route and not former.get(it.id, "failing").startswith("failing"):
                self.relieved.add(it.route)
                self._over[it.id] = now if it.key[0] == "failing" else now + RECENT_S
        return symptoms

    def _attention(self, it: IncidentFinding, symptoms: Sequence[IncidentFinding]) -> Attention:
        return Attention(
            id=it.id,
            about=it.about,
            level=min((it.level, *(one.level for one in symptoms)), key=_ORDER.__getitem__),
            title=it.title,
            sentence=it.sentence,
            route=it.route,
            since=self._begun.get(it.id, it.since),
            alert=it.alert,
            note=it.note,
            next=next_step(it, self.settings),
            symptoms=tuple(Symptom(it.sentence, self._begun[it.id], it.about) for it in symptoms),
        )

    def _end(
        self, now: float, before: Iterable[Attention], over: Iterable[IncidentFinding]
    ) -> None:
        """Move the incidents that are over, except those that had not become an alert.

        Their sentences are in the past tense from now on.
        """
        goes_on = {it.id for it in self.attention} | self._causes.keys()
        ended = [
            replace(self._attention(it, ()), ended_at=it.ended_at or now)
            for it in over
            if it.id not in goes_on
        ]
        goes_on |= {it.id for it in ended}
        ended += [
            replace(it, ended_at=now, mute=None, sentence=self._past.get(it.id) or it.sentence)
            for it in before
            if it.id not in goes_on and not it.note
        ]
        again = goes_on | {it.id for it in ended}
        ended += [it for it in self.ended if it.id not in again]
        recent = [it for it in ended if now - (it.ended_at or now) <= ENDED_S]
        self.ended = tuple(
            replace(it, since=_not_after(now, it.since), ended_at=_not_after(now, it.ended_at))
            for it in recent[:MOST_ENDED]
        )

    def mute(self, identity: str, by: str, now: float) -> None:
        """Leave an incident out of the state for half an hour, or until its cause changes.

        Raises ConsoleError if it has ended.
        """
        for it in self.attention:
            if it.id == identity:
                self._mutes[identity] = it, Mute(by, now + MUTED_S)
                self._show_mutes()
                return
        raise ConsoleError(404, "This incident is over: there is nothing to mute.")

    def unmute(self, identity: str) -> None:
        """Let an incident count again."""
        self._mutes.pop(identity, None)
        self._show_mutes()

    def state(self) -> HealthState:
        """Return the state of the gateway: that of its worst incident that is not muted."""
        for it in self.attention:
            if it.mute is None:
                words = "degraded: " if it.level == "bad" else "serving; "
                return HealthState(it.level, words + it.title)
        muted = len(self.attention)
        return HealthState("good", f"serving; {muted} muted" if muted else "serving")

    def _show_mutes(self) -> None:
        mutes = {identity: mute for identity, (_, mute) in self._mutes.items()}
        shown = [replace(it, mute=mutes.get(it.id)) for it in self.attention]
        shown.sort(key=lambda it: (it.mute is not None, _ORDER[it.level]))
        self.attention = tuple(shown)


def _not_after(now: float, moment: float | None) -> float | None:
    """Return a moment that is not in the future, where a clock that was set back puts it."""
    return None if moment is None else min(moment, now)


def _is_no_worse(present: Attention | None, muted: Attention) -> bool:
    """Return whether an incident is what was muted: it may have ended, and may begin again.

    Its words may change while its cause stays: a server that hangs misses requests and checks.
    """
    return present is None or (
        _ORDER[present.level] >= _ORDER[muted.level] and present.alert == muted.alert
    )
