"""Incidents: a cause that needs attention, with its symptoms, its mute and its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from admin.errors import ConsoleError
from admin.model.kinds import HealthState
from admin.model.overview import Attention, Mute, Symptom

if TYPE_CHECKING:
    from collections.abc import Iterable

    from admin.alerting.findings import IncidentFinding
    from admin.model.kinds import Level

MUTED_S = 1800.0
ENDED_S = 3600.0  # for as long an incident is shown after its end
MOST_ENDED = 10
_ORDER: dict[Level, int] = {"bad": 0, "warning": 1, "good": 2}


class Incidents:
    """The incidents that go on, the worst first, and those that ended within the last hour."""

    def __init__(self) -> None:
        self.attention: tuple[Attention, ...] = ()
        self.ended: tuple[Attention, ...] = ()
        self._since: dict[str, float] = {}
        self._mutes: dict[str, tuple[str, Mute]] = {}  # with the cause for which it holds

    def update(self, now: float, present: Iterable[IncidentFinding]) -> None:
        """Take the present findings; an incident that has none any more has ended."""
        findings = sorted(present, key=lambda it: (_ORDER[it.level], it.key))
        former, self._since = self._since, {}
        causes: dict[str | None, str] = {}
        for it in findings:
            # A clock that was set back puts moments before that into the future.
            self._since[it.id] = min(it.since or former.get(it.id, now), now)
            if it.route is not None and not it.is_symptom:
                causes.setdefault(it.route, it.id)
        symptoms: dict[str, list[Symptom]] = {}
        shown = []
        for it in findings:
            if it.is_symptom and it.route in causes:
                symptom = Symptom(it.sentence, self._since[it.id])
                symptoms.setdefault(causes[it.route], []).append(symptom)
            else:
                shown.append(it)
        self._end(now)
        self.attention = tuple(
            Attention(
                id=it.id,
                level=it.level,
                title=it.title,
                sentence=it.sentence,
                route=it.route,
                since=self._since[it.id],
                alert=it.alert,
                note=it.note,
                window=it.window,
                next=it.next,
                symptoms=tuple(symptoms.get(it.id, ())),
            )
            for it in shown
        )
        causes_now = {it.id: _cause(it) for it in self.attention}
        self._mutes = {
            identity: (cause, mute)
            for identity, (cause, mute) in self._mutes.items()
            if causes_now.get(identity) == cause and mute.until > now
        }
        self._show_mutes()

    def _end(self, now: float) -> None:
        """Move the incidents that are over, except those that had not become an alert."""
        over = [it for it in self.attention if it.id not in self._since and not it.note]
        ended = [replace(it, ended_at=now, mute=None) for it in over]
        ended += [it for it in self.ended if it.id not in self._since]
        recent = [it for it in ended if now - (it.ended_at or now) <= ENDED_S]
        self.ended = tuple(recent[:MOST_ENDED])

    def mute(self, identity: str, by: str, now: float) -> None:
        """Leave an incident out of the state for half an hour, or until its cause changes.

        Raises ConsoleError if it has ended.
        """
        for it in self.attention:
            if it.id == identity:
                self._mutes[identity] = _cause(it), Mute(by, now + MUTED_S)
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
        return HealthState("good", "serving")

    def _show_mutes(self) -> None:
        mutes = {identity: mute for identity, (_, mute) in self._mutes.items()}
        self.attention = tuple(replace(it, mute=mutes.get(it.id)) for it in self.attention)


def _cause(incident: Attention) -> str:
    """Return a cause without its numbers, which change while it goes on."""
    return f"{incident.level} {re.sub(r'[0-9]+', '', incident.sentence)}"
