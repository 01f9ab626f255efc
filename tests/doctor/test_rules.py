"""What the doctor of deployments decides without a server: its budget and its evidence."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_doctor.advice import ADVICE
from headgate_doctor.checks import polls
from headgate_doctor.checks.judging import mismatches
from headgate_doctor.evidence import (
    CLAIM_CHARACTERS,
    AnswerSource,
    cache_claims,
    source,
)
from headgate_doctor.examination import BESIDE, CHECKS
from headgate_doctor.probe_sender import (
    MOST_REQUESTS,
    BudgetSpent,
    ProbeReply,
    RequestBudget,
)
from headgate_doctor.script.line import ScriptLine
from headgate_doctor.streams import first_target
from tests.support.processes import ROOT

NAMES = [*(name for row in CHECKS for name in row.finds), *BESIDE]


# ---------------------------------------------------------------- the budget


def test_the_doctor_sends_at_most_400_requests() -> None:
    budget = RequestBudget()
    for _ in range(399):
        budget.spend()
    budget.spend()
    with pytest.raises(BudgetSpent, match="all 400 requests"):
        budget.spend()
    assert (budget.spent, MOST_REQUESTS) == (400, 400)


@pytest.mark.parametrize(
    "text",
    [
        "docs/commands.md",
        "docs/operating.md",
        "admin/headgate_admin/pages/views/cdn.html",
        "doctor/headgate_doctor/command.py",
        "doctor/README.md",
    ],
)
def test_each_text_about_the_doctor_says_how_many_requests_it_sends_at_most(text: str) -> None:
    said = re.findall(r"at most (\d+)\s+requests", (ROOT / text).read_text())
    assert said
    assert set(said) == {str(MOST_REQUESTS)}


@given(most=st.integers(0, 12), wants=st.lists(st.sampled_from(["spend", "promise", "redeem"])))
def test_the_request_budget_is_never_exceeded_and_every_promise_kept(
    most: int, wants: list[str]
) -> None:
    budget = RequestBudget(most)
    sent = made = 0
    for want in wants:
        try:
            if want == "redeem":
                budget.redeem()
                made -= 1
            else:
                budget.spend(promise=want == "promise")
                made += want == "promise"
            sent += 1
        except BudgetSpent:
            pass
    for _ in range(made):
        budget.redeem()
        sent += 1
    assert budget.spent == sent <= most
    assert budget.promised == 0


# ---------------------------------------------------------------- evidence


def reply(**headers: str) -> ProbeReply:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return ProbeReply(200, fields, b"", "doctor-1", 0.0)


SOURCES = {
    # The id decides, whatever caches say.
    "X-Request-Id: doctor-1": AnswerSource.OWN,
    "X-Request-Id: doctor-1 | X-Cache: HIT": AnswerSource.OWN,
    "X-Request-Id: doctor-2": AnswerSource.SHARED,
    "X-Request-Id: doctor-2 | X-Cache-Status: MISS": AnswerSource.SHARED,
    # That of a hop says nothing.
    "X-Request-Id: of-a-hop": AnswerSource.UNKNOWN,
    "X-Request-Id: of-a-hop | X-Cache: HIT": AnswerSource.SHARED,
    # Then a vendor's field.
    "X-Cache-Status: HIT": AnswerSource.SHARED,
    "X-Cache-Status: MISS | X-Cache: HIT": AnswerSource.OWN,
    "CF-Cache-Status: DYNAMIC": AnswerSource.OWN,
    # Or that of a rendered file, whose copies have no id.
    "Cache-Status: Headgate; hit | X-Cache: HIT | Server-Timing: cache;desc=hit": (
        AnswerSource.SHARED
    ),
    "Cache-Status: Headgate; hit | X-Cache: HIT | Server-Timing: cache;desc=miss": AnswerSource.OWN,
    "X-Cache: MISS | Server-Timing: db;dur=1, cache;desc=hit": AnswerSource.OWN,
    "CF-Cache-Status: REVALIDATED": AnswerSource.SHARED,
    # Then the hop that is nearest, by RFC 9211; the last Headgate may be the server.
    "Cache-Status: Origin; fwd=uri-miss, Edge; hit": AnswerSource.SHARED,
    "Cache-Status: Edge; fwd=uri-miss; collapsed": AnswerSource.SHARED,
    "Cache-Status: Edge; fwd=stale": AnswerSource.OWN,
    "Cache-Status: Headgate; hit, Edge; fwd=bypass | X-Cache: HIT": AnswerSource.OWN,
    "Cache-Status: Headgate; hit | X-Cache: HIT": AnswerSource.UNKNOWN,
    # Then the field that most caches use.
    "X-Cache: Hit from cloudfront": AnswerSource.SHARED,
    "X-Cache: RefreshHit from cloudfront": AnswerSource.SHARED,
    "X-Cache: Miss from cloudfront": AnswerSource.OWN,
    "X-Cache: MISS, HIT": AnswerSource.SHARED,
    # Then the age.
    "Age: 3": AnswerSource.SHARED,
    "Age: 3 | Cache-Status: Headgate; fwd=uri-miss | X-Cache: MISS": AnswerSource.SHARED,
    "Age: 0": AnswerSource.UNKNOWN,
    "Age: hit": AnswerSource.UNKNOWN,
    "": AnswerSource.UNKNOWN,
}


@pytest.mark.parametrize(("fields", "known"), SOURCES.items(), ids=SOURCES)
def test_the_source_of_a_response_is_known_by_its_id_or_else_by_cache_headers(
    fields: str, known: AnswerSource
) -> None:
    named = dict(line.split(": ", 1) for line in fields.split(" | ") if line)
    assert source(ProbeReply(200, named, b"", "doctor-1", 0.0)) is known


def test_cache_headers_are_quoted_as_one_short_printable_line() -> None:
    said = cache_claims(reply(X_Cache="HIT\x1b[2J\u202e" + "x" * 100), reply(), reply(Age="3"))
    assert said.startswith(" (X-Cache: HIT [2J x")
    assert said.endswith("x, then Age: 3)")
    assert said.isprintable()
    assert len(said) == len(" (X-Cache: , then Age: 3)") + CLAIM_CHARACTERS


# ---------------------------------------------------------------- bodies


def test_a_body_that_is_there_twice_is_a_request_that_was_sent_twice() -> None:
    line = ScriptLine("a read", "GET", "-many", gives=b"once", check="request fields")
    doubled = ProbeReply(200, {}, b"onceonce", "doctor-1", 0.0)
    found = [(one.check, one.advice) for one in mismatches({}, line, doubled, is_spoiled=False)]
    assert found == [("bodies", "sent once")]


# ---------------------------------------------------------------- polls


@pytest.mark.parametrize(("took_s", "verdict"), [(20.1, "pass"), (40.2, "note")])
def test_a_poll_that_takes_twice_as_long_as_by_default_is_a_note(
    took_s: float, verdict: str
) -> None:
    of_headgate = reply(Cache_Status="Headgate; fwd=bypass")
    assert polls.held(polls.Poll(took_s, took_s, of_headgate), of_headgate).verdict == verdict


# ---------------------------------------------------------------- advice


def test_every_doctor_check_is_made_once_and_has_advice() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert set(NAMES) <= set(ADVICE)


# ---------------------------------------------------------------- what is given


@pytest.mark.parametrize(
    ("url", "begins", "ends"),
    [
        ("http://h/v1/stream", "http://h/v1/stream/headgate-doctor-", ""),
        ("http://h/v1/stream/", "http://h/v1/stream/headgate-doctor-", ""),
        ("HTTPS://h:8443/a?token=x#part", "https://h:8443/a/headgate-doctor-", "?token=x"),
        ("http://h", "http://h/headgate-doctor-", ""),
    ],
)
def test_streams_of_the_doctor_get_unique_names_below_the_url(
    url: str, begins: str, ends: str
) -> None:
    one, other = first_target(url, {}), first_target(url, {})
    assert one.url.startswith(begins)
    assert one.url.endswith(ends)
    assert one.url != other.url


def test_stream_auth_is_sent_by_the_doctor_only_to_its_own_server() -> None:
    environment = {"STREAM_URL": "http://home/v1/stream", "STREAM_AUTH": "Bearer x"}
    assert first_target("http://home/v1/stream", environment).authorization == "Bearer x"
    assert first_target("http://other/v1/stream", environment).authorization is None
