"""The table by which all gateways end completions, as `docs/models.md` has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from headgate_gateway.features.models.ends import RULES, Cause

if TYPE_CHECKING:
    from headgate_gateway.features.models.ends import Rule

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
HEAD = "| why no more events come | and the events have | outcome | its key is free again |"
WORDS: dict[str, str] = {
    "over": "the response ended",
    "broken": "the response broke",
    "failed": "the gateway failed",
    "stopping": "the gateway stops",
    "gone": "the gateway is gone",
    "unread": "nobody reads",
    "stopped": "a client stopped it",
    "stopped elsewhere": "a client stopped it at another gateway",
    "failure": "a failure",
    "end": "the end",
    "no dialect": "no known dialect",
    "anything": "anything else",
}


def row(rule: Rule) -> str:
    """Return a rule as a row of the page."""
    outcome = f"`{rule.outcome}`"
    frees_key = "yes" if rule.frees_key else "no"
    if rule.outcome is None:
        outcome = "`failed`, or `aborted` if the provider has cancelled it"
        frees_key = "if it is the first event"
    causes = ", ".join(WORDS[it] for it in rule.causes)
    return f"| {causes} | {WORDS[rule.said]} | {outcome} | {frees_key} |"


def test_the_page_has_the_table_by_which_gateways_end_completions() -> None:
    _, _, rest = PAGE.read_text().partition(f"{HEAD}\n| --- | --- | --- | --- |\n")
    table, _, _ = rest.partition("\n\n")
    assert table.splitlines() == [row(it) for it in RULES]


def test_whatever_the_events_have_said_each_cause_has_an_outcome() -> None:
    always = {cause for rule in RULES if rule.said == "anything" for cause in rule.causes}
    assert always == set(get_args(Cause))
