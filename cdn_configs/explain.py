"""Explanations, as text, of what a target does with each mode of a request, and does not do."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from cdn_configs.options import CREDENTIAL_MODES
from cdn_configs.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdn_configs.target import Target

WIDTH = 80


def explain(target: Target) -> str:
    """Wrap into lines of at most 80 characters."""
    return "".join(f"{line}\n" for line in _lines(target))


def _lines(target: Target) -> Iterator[str]:
    yield f"{target.name}: {target.title}"
    for title, sentences in _lists(target):
        if sentences:
            yield ""
            yield title
            for sentence in sentences:
                yield from _item(sentence)
    yield ""
    yield "What an edge may do with each mode of a request, and why:"
    for rule in RULES.table:
        yield from _item(f"{rule.mode} ({rule.requests}) {rule.kept} {rule.why}")


def _lists(target: Target) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (
        ("It does this:", target.does),
        ("It does not do this:", target.does_not),
        ("Options:", tuple(limits(target))),
        ("How it is checked:", (f"State: {target.state}.", f"{target.checked}.")),
    )


def limits(target: Target) -> Iterator[str]:
    """Yield all that limits a target and its options, and why: a sentence each."""
    yield from bounds(target)
    yield from exclusions(target)


def bounds(target: Target) -> Iterator[str]:
    """Yield what everybody who takes the target has to know of its limits: a sentence each."""
    if target.longest_poll_s is not None:
        yield f"Long-polls of up to {target.longest_poll_s} s: {target.longest_poll_reason}."
    if target.longest_heartbeat_s is not None:
        heartbeat = f"SSE heartbeats at most {target.longest_heartbeat_s} s apart"
        yield f"{heartbeat}: {target.longest_heartbeat_reason}."
    if target.beside:
        yield f"Beside it lies the file of {', '.join(target.beside)}."
    if not target.keeps_readers_apart:
        yield "No routes to HTTP origins that tell their readers apart."
    if not target.keeps_sites_apart:
        yield "No list of web sites as cors_origins."


def exclusions(target: Target) -> Iterator[str]:
    """Yield what its options may be, and which it refuses: a sentence each."""
    if target.longest_poll_s is None:
        yield "Long-polls may be of any length."
    yield f"--credentials {' or '.join(target.credentials)}."
    missing = (mode for mode in CREDENTIAL_MODES if mode not in target.credentials)
    yield from (f"No --credentials {mode}: it cannot {target.cannot(mode)}." for mode in missing)
    if target.shield:
        yield f"--shield may be {target.shield_words}: that place alone asks the gateway."
    if target.no_https:
        yield f"No HTTPS to the gateway: {target.no_https}."
    reasons = {
        "upstream-ca": target.no_upstream_ca,
        "stale-if-error": target.no_stale_if_error,
        "purge": target.no_purge,
    }
    yield from (f"No --{option}: {reason}." for option, reason in reasons.items() if reason)


def _item(sentence: str) -> list[str]:
    return textwrap.wrap(
        sentence,
        WIDTH,
        initial_indent="  - ",
        subsequent_indent="    ",
        break_on_hyphens=False,  # the names of headers and options stay whole
    )
