"""Health notes: what is wrong with a part of the server, as data, and the sentence about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

Facts = dict[str, str | int | float]
CERTIFICATE_FILE, ACCESS_FILE, KEY_SET = "certificate_file", "access_file", "key_set"
STARTING, STOPPING = "starting", "stopping"  # a process opens its listeners, or has begun a stop

# By the code of a cause. Any other has its sentence as a fact, the `reason`, from the system, from
# a server that was asked or from a feature, or is a word.
SENTENCES = {
    "ended": "{reason}, starting again",
    "replaced": "{reason}; a new one serves since {since}",
    "silent": "does not answer",
    "set": "was set {way} by {by_s:,.0f} s: rates and times that span this moment are wrong",
    **dict.fromkeys(
        ("has_ended", "not_valid_yet", "other_hosts"),
        "the certificate {reason}, and is in use: clients refuse it",
    ),
    **dict.fromkeys(
        ("ends_soon", "ends_now"), "the certificate {reason}: it should have been renewed by now"
    ),
    "not_used": "{reason}; the one read before stays in use",
    "not_readable": "refused as they are written now, so a restart may fail: {reason}",
    "waits_for_restart": "refused by the last reload, in force from a restart on: {reason}",
    "full": (
        "{used:,} bytes are used of max_storage_size, {limit:,}: creations and appends that do not"
        " fit get 507 until streams are deleted or max_storage_size is raised"
    ),
    "stuck": "subscriptions that have failed for over a day: {count:,}",
    "purges_wait": (
        "it {reason}; purges that wait: {count:,}, and readers may get what was deleted"
    ),
    "lost": (
        "{server} lacks the last writes that it had acknowledged before it restarted or failed"
        " over: offsets of lost data get 410"
    ),
}
# The sentences about what is over, by the code of the cause; {0} is the subject, {1} its name.
PAST = {
    "away": "the log of {0} was away",
    "down": "the origin of {0} could not be reached",
    **dict.fromkeys(("ended", "replaced"), "{1} {reason}"),
    **dict.fromkeys(("ends_soon", "ends_now"), "the certificate {0} was about to end"),
    "failed": "the renewal of the certificate for {0} failed",
    "failing": "a server of the origin of {0} was down or failed",
    "full": "the max_storage_size of {0} was used up",
    "has_ended": "the certificate {0} had ended",
    "lost": "the Redis of {0} lost acknowledged writes",
    "missing": "{0} had no certificate",
    "not_fetched": "the keys at {0} could not be fetched",
    "not_readable": "the settings were refused as they were written",
    "not_used": "the certificate {0} was refused",
    "not_valid_yet": "the certificate {0} was not valid yet",
    "other_hosts": "the certificate {0} was for other hosts",
    "purges_wait": "purges of {0} failed",
    "read_only": "the log of {0} took no appends",
    "refused": "{0} was refused",
    "set": "the clock was set",
    "silent": "{1} did not answer",
    "stuck": "subscriptions of {0} had failed for over a day",
    "waits_for_restart": "changed settings waited for a restart",
}
# What is before the subject, where that is not the kind: files and URLs are known by themselves.
NAMES = {
    **dict.fromkeys((CERTIFICATE_FILE, ACCESS_FILE, KEY_SET), ""),
    "certificate": "certificate for",
    "renewal": "renewal of the certificate for",
}
# The kinds of parts whose troubles readers or writers feel: data are lost, a log takes no writes,
# an origin is unreachable, a cache in front still has what was deleted, or nobody can connect.
FELT = {"certificate", "log", "loss", "origin", "purge"}
# Causes that leave a certificate in use as it is: clients connect, and will for days.
CERTIFICATE_WAITS = {"ends_soon", "not_used"}


class Cause(msgspec.Struct, frozen=True):
    """A code for what is wrong, and the facts for its sentence."""

    code: str
    facts: Facts = {}

    @classmethod
    def of(cls, code: str, reason: str | None) -> Cause | None:
        """Return the cause with a reason; None without one."""
        return None if reason is None else cls(code, {"reason": reason})

    @property
    def sentence(self) -> str:
        """The sentence for people, made of the facts."""
        if self.code in SENTENCES:
            return SENTENCES[self.code].format_map(self.facts)
        return str(self.facts.get("reason", self.code))


class HealthNote(msgspec.Struct, frozen=True):
    """A finding about a part of the server; without a `cause` all is well.

    `kind` and `subject` name the part: a log and the prefix of its route, a worker and its number,
    a file and its path. `workers` are those that found it, where there are several.
    """

    kind: str
    subject: str = ""
    cause: Cause | None = None
    workers: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The part in words."""
        return f"{NAMES.get(self.kind, self.kind)} {self.subject}".strip()

    @property
    def sentence(self) -> str | None:
        """The sentence about the part, or None."""
        if self.cause is None:
            return None
        who = f"worker {', '.join(map(str, self.workers))}: " if self.workers else ""
        return f"{who}{self.cause.sentence}"

    @property
    def past(self) -> str:
        """The sentence about the part once all is well again."""
        code, facts = ("", {}) if self.cause is None else (self.cause.code, self.cause.facts)
        return PAST.get(code, "{1} was not well").format(self.subject, self.name, **facts)

    @property
    def is_felt(self) -> bool:
        """True if readers or writers feel what is wrong, or will within days."""
        if self.cause is None:
            return False
        if self.kind == CERTIFICATE_FILE:
            return self.cause.code not in CERTIFICATE_WAITS
        return self.kind in FELT


def by_name(notes: Iterable[HealthNote]) -> dict[str, str | None]:
    """Return the sentences about each part, or None where all is well."""
    found: dict[str, str | None] = {}
    for note in notes:
        found[note.name] = "; ".join(filter(None, (found.get(note.name), note.sentence))) or None
    return found


def merged(results: Iterable[tuple[int, Iterable[HealthNote]]]) -> tuple[HealthNote, ...]:
    """Merge what workers have found, each cause with their numbers."""
    found: dict[tuple[str, str], dict[bytes, HealthNote]] = {}
    for number, notes in results:
        for note in notes:
            of_part = found.setdefault((note.kind, note.subject), {})
            if note.cause is not None:
                key = msgspec.json.encode(note.cause)
                same = of_part.get(key, note)
                of_part[key] = replace(same, workers=(*same.workers, number))
    return tuple(
        note for part, of_part in found.items() for note in of_part.values() or (HealthNote(*part),)
    )
