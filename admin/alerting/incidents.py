"""Incidents: a cause that needs attention, with its symptoms, its mute and its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from admin.alerting.findings import Failovers
from admin.errors import ConsoleError
from admin.model.kinds import HealthState
from admin.model.overview import Attention, Mute, Symptom

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from admin.alerting.findings import IncidentFinding
    from admin.model.kinds import Level
    from gateway.telemetry.metrics import Sample

MUTED_S = 1800.0
ENDED_S = 3600.0  # an incident is shown for as long after its end
MOST_ENDED = 10
OVER = "it is over, and its symptoms go on"
_ORDER: dict[Level, int] = {"bad": 0, "warning": 1, "good": 2}


class _Onset(NamedTuple):
    """The moment when a finding began, and that when its cause became another one, if it has."""

    cause: str
    at: float
    changed_at: float | None = None


class Incidents:
    """The incidents that go on, the worst first, and those that ended within the last hour.

    A symptom that outlasts its cause stays below it, and the incident goes on until both are over.
    """

    def __init__(self) -> None:
        self.settings_file = ""  # for the commands that operators copy
        self.attention: tuple[Attention, ...] = ()
        self.ended: tuple[Attention, ...] = ()
        self._begun: dict[str, _Onset] = {}
        self._causes: dict[str, str] = {}  # ids of incidents, by the ids of their symptoms
        self._failovers = Failovers()
        self._mutes: dict[str, tuple[Attention, Mute]] = {}  # the incident as it was muted

    def update(
        self, now: float, present: Iterable[IncidentFinding], samples: Iterable[Sample] = ()
    ) -> None:
        """Take the present findings; an incident that has none any more has ended.

        The metrics say which failovers were over before they could be seen.
        """
        findings = sorted(present, key=lambda it: (_ORDER[it.level], it.key))
        self._note_begun(now, findings)
        symptoms = self._symptoms(findings)
        shown = [
            self._attention(it, symptoms.pop(it.id, ()))
            for it in findings
            if it.id not in self._causes
        ]
        # What is left are symptoms of incidents whose causes are over.
        lasting = [
            replace(it, note=OVER, symptoms=tuple(symptoms[it.id]))
            for it in self.attention
            if it.id in symptoms
        ]
        before = self.attention
        self.attention = tuple(sorted((*shown, *lasting), key=lambda it: _ORDER[it.level]))
        self._end(now, before, self._failovers.found(now, samples))
        shown_now = {it.id: it for it in self.attention}
        self._mutes = {
            identity: (muted, mute)
            for identity, (muted, mute) in self._mutes.items()
            if mute.until > now and _is_no_worse(shown_now.get(identity), muted)
        }
        self._show_mutes()

    def _note_begun(self, now: float, findings: Iterable[IncidentFinding]) -> None:
        former, lasting = self._begun, {*self._causes.values()}
        self._begun = {it: onset for it, onset in former.items() if it in lasting}
        for it in findings:
            cause = _without_numbers(it.sentence)
            begun = former.get(it.id) or _Onset(cause, now)
            changed_at = begun.changed_at if begun.cause == cause else now
            # A clock that was set back puts moments before that into the future.
            self._begun[it.id] = _Onset(cause, min(it.since or begun.at, now), changed_at)

    def _symptoms(self, findings: Sequence[IncidentFinding]) -> dict[str, list[Symptom]]:
        """Return the symptoms by the id of their incident, also one whose cause is over."""
        by_route: dict[str | None, str] = {}
        for it in findings:
            if it.route is not None and not it.is_symptom:
                by_route.setdefault(it.route, it.id)
        former, self._causes = self._causes, {}
        symptoms: dict[str, list[Symptom]] = {}
        for it in findings:
            cause = by_route.get(it.route) or former.get(it.id)
            if it.is_symptom and cause:
                self._causes[it.id] = cause
                symptom = Symptom(it.sentence, self._begun[it.id].at)
                symptoms.setdefault(cause, []).append(symptom)
        return symptoms

    def _attention(self, it: IncidentFinding, symptoms: Iterable[Symptom]) -> Attention:
        begun = self._begun.get(it.id)
        return Attention(
            id=it.id,
            level=it.level,
            title=it.title,
            sentence=it.sentence,
            route=it.route,
            since=it.since if begun is None else begun.at,
            changed_at=None if begun is None else begun.changed_at,
            alert=it.alert,
            note=it.note,
            window=it.window,
            next=it.next(self.settings_file),
            symptoms=tuple(symptoms),
        )

    def _end(
        self, now: float, before: Iterable[Attention], over: Iterable[IncidentFinding]
    ) -> None:
        """Move the incidents that are over, except those that had not become an alert."""
        goes_on = {it.id for it in self.attention} | self._causes.keys()
        ended = [
            replace(it, ended_at=now, note="", mute=None)
            for it in (*(self._attention(it, ()) for it in over), *before)
            if it.id not in goes_on and it.note in {"", OVER}
        ]
        again = goes_on | {it.id for it in ended}
        ended += [it for it in self.ended if it.id not in again]
        recent = [it for it in ended if now - (it.ended_at or now) <= ENDED_S]
        self.ended = tuple(recent[:MOST_ENDED])

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
        self.attention = tuple(replace(it, mute=mutes.get(it.id)) for it in self.attention)


def _is_no_worse(present: Attention | None, muted: Attention) -> bool:
    """Return whether an incident is what was muted: it may have ended, and may begin again."""
    return present is None or (
        _ORDER[present.level] >= _ORDER[muted.level]
        and _without_numbers(present.sentence) == _without_numbers(muted.sentence)
    )


def _without_numbers(sentence: str) -> str:
    """Return a cause without its numbers, which change while it goes on."""
    return re.sub(r"[0-9][0-9.,]*", "", sentence)
