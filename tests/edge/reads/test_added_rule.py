"""A rule for responses to reads is added by one module, and by its name in the list of rules."""

from __future__ import annotations

import pytest

from headgate_gateway.edge.reads.rule_results import RuleResults
from headgate_gateway.rules import read_rules
from headgate_gateway.rules.policy import Times
from headgate_gateway.rules.read_rules import ReadResponse, ReadRule
from tests.edge.reads.responses import NOW
from tests.edge.reads.test_rule_results import a_chunk, judged, request, rules
from tests.edge.reads.toy_rule import RULE
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get
from tests.web.test_traffic import numbers

READ = ("Stream-Next-Offset: 0001", "Content-Type: text/plain", "Cache-Control: max-age=60")


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the rule applied, as if the list named it."""
    monkeypatch.setattr(read_rules, "RULES", (*read_rules.RULES, RULE))


async def test_an_added_rule_keeps_a_response_out_of_the_cache_and_is_counted() -> None:
    plain, draft = answer(b"a", *READ), answer(b"a", *READ, "X-Draft: true")
    async with RawOrigin(plain, draft, draft) as raw, edge_serving(raw) as gateway:
        for name in ("plain", "plain", "draft", "draft"):
            response = await gateway.ask(get(f"{EDGE}/{name}?offset=0000"))
            assert response.status == 200
            assert response.headers["cache-control"].startswith(
                "no-store" if name == "draft" else "max-age=60"
            )
        assert [it.target.partition("?")[0] for it in raw.heard] == [
            f"{EDGE}/plain",
            f"{EDGE}/draft",
            f"{EDGE}/draft",
        ]
        assert numbers(gateway, "headgate_repairs_total", EDGE)["draft"] == 2


async def test_an_added_rule_refuses_a_response() -> None:
    locked = answer(b"a", *READ, "X-Draft: locked")
    async with RawOrigin(locked) as raw, edge_serving(raw) as gateway:
        response = await gateway.ask(get(f"{EDGE}/locked?offset=0000"))
        assert response.status == 502


def test_an_added_rule_is_applied_to_two_of_many_responses_that_are_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the rules make of a head is remembered: those that follow cost no more than before."""
    applied: list[str] = []

    def noting(response: ReadResponse) -> bool:
        applied.append(response.facts.next_offset)
        return RULE.apply(response)

    monkeypatch.setattr(read_rules, "RULES", (*read_rules.RULES[:-1], ReadRule("draft", noting)))
    by_heart, anew = rules(), rules()
    remembered = RuleResults(by_heart)
    for number in range(5):
        draft, times = a_chunk(number, ("X-Draft", "true")), Times(NOW, NOW + number)
        cached = judged(remembered, request(), draft, times)
        assert cached == judged(anew, request(), draft, times)
    assert applied.count("b0004") == 1  # by `anew` alone, which remembers nothing
    assert by_heart.repairs == anew.repairs
    assert by_heart.repairs["draft"] == 5
