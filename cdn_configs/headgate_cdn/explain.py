"""Explanations of what a target does and does not do, as text and as a row of a table."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from headgate_cdn.options import CREDENTIAL_MODES
from headgate_cdn.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_cdn.target import Ability, Target

WIDTH = 80
# Of the table that compares targets: a row for each, in a few words.
HEAD = (
    "equal long-polls",
    "equal SSE reads",
    "longest long-poll",
    "readers with credentials",
    "purges",
    "state",
)


def compared(target: Target) -> tuple[str, ...]:
    """Return the cells of a target's row, in the order of `HEAD`."""

    def able(ability: Ability, yes: str, no: str) -> str:
        return yes if ability in target.abilities else no

    poll = "any" if target.longest_poll_s is None else f"{target.longest_poll_s} s"
    return (
        able("collapses", "one request", "passed on"),
        able("collapses-sse", f"one for {RULES.sse_join_s} s of arrivals", "passed on"),
        poll,
        ", ".join(target.credentials),
        able("purges", "yes", "no"),
        target.state,
    )


def explain(target: Target) -> str:
    """Wrap into lines of at most 80 characters."""
    return "".join(f"{line}\n" for line in _lines(target))


def _lines(target: Target) -> Iterator[str]:
    yield f"{target.name}: {target.title}"
    yield ""
    width = max(map(len, HEAD))
    for title, cell in zip(HEAD, compared(target), strict=True):
        yield f"  {title:<{width}}  {cell}"
    for title, sentences in _lists(target):
        if sentences:
            yield ""
            yield title
            for sentence in sentences:
                yield from _item(sentence)


def _lists(target: Target) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (
        ("It does this:", target.does),
        ("It does not do this:", target.does_not),
        ("Options and limits:", tuple(limits(target))),
        ("How it is checked:", (f"{target.checked}.",)),
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
        yield "No list of web sites as http.cors_origins."


def exclusions(target: Target) -> Iterator[str]:
    """Yield what its options may be, and which it refuses: a sentence each."""
    if target.balances:
        yield "--upstream may name several gateways, as a:4437,b:4437."
    if target.shield:
        yield f"--shield may be {target.shield_words}: that place alone asks the gateway."
    refused: dict[str, list[str]] = {}  # what is refused for the same reason is one sentence
    modes = [mode for mode in CREDENTIAL_MODES if mode not in target.credentials]
    for mode in modes:
        refused.setdefault(target.reason_against(mode), []).append(mode)
    named = {reason: [f"--credentials {'|'.join(of)}"] for reason, of in refused.items()}
    for option, reason in (
        ("HTTPS to the gateway", target.no_https),
        ("--upstream-ca", target.no_upstream_ca),
        ("--stale-if-error", target.no_stale_if_error),
        ("--purge", target.no_purge),
    ):
        if reason:
            named.setdefault(reason, []).append(option)
    yield from (f"No {' and no '.join(options)}: {reason}." for reason, options in named.items())


def _item(sentence: str) -> list[str]:
    return textwrap.wrap(
        sentence,
        WIDTH,
        initial_indent="  - ",
        subsequent_indent="    ",
        break_on_hyphens=False,  # the names of headers and options stay whole
    )
