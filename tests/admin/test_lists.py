from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate_admin.streams import lists
from headgate_gateway.features.questions.streams import (
    ExplainStep,
    Explanation,
    ListStreams,
    ProducerRow,
    StreamDescription,
    StreamOrder,
    StreamPage,
    StreamRow,
)


def listing(known: list[StreamRow], question: ListStreams) -> StreamPage:
    """What a process answers that knows these streams."""
    ordered = sorted(known, key=lambda row: row.name)
    if question.order == "name":
        rest = [row for row in ordered if row.name > question.after]
        rows = tuple(rest[: question.limit])
        return StreamPage(rows, rows[-1].name if len(rest) > len(rows) else None)
    ranked = sorted(ordered, key=lambda row: (-row.readers, row.name))
    return StreamPage(tuple(ranked[: question.limit]))


def walk(processes: list[list[StreamRow]], order: StreamOrder, limit: int) -> list[StreamRow]:
    """All pages, one after the other."""
    seen: list[StreamRow] = []
    after: str | None = ""
    while after is not None:
        question = ListStreams("/r", order=order, after=after, limit=limit)
        asked = lists.asked(question, len(processes))
        answers = [listing(known, asked) for known in processes]
        page = lists.page(question, answers, len(processes))
        seen += page.rows
        after = page.after
    return seen


def searched(known: list[StreamRow], question: ListStreams, compared: int) -> StreamPage:
    """What a process answers to a search for `x` that compares so many names for each page."""
    rest = sorted(row.name for row in known if row.name > question.after)
    found: list[StreamRow] = []
    for number, name in enumerate(rest, 1):
        if "x" in name:
            found.append(StreamRow(name=name))
        if number < len(rest) and (number == compared or len(found) == question.limit):
            return StreamPage(tuple(found), name)
    return StreamPage(tuple(found))


names = st.lists(st.sampled_from("abcdefghij"), unique=True)


@given(st.lists(names, min_size=2, max_size=4), st.integers(1, 4))
def test_streams_known_to_several_processes_are_listed_once(
    known: list[list[str]], limit: int
) -> None:
    processes = [[StreamRow(name=name, readers=1) for name in mine] for mine in known]
    everything = sorted({name for mine in known for name in mine})
    assert [row.name for row in walk(processes, "name", limit)] == everything
    busiest = walk(processes, "readers", limit)
    counts = {name: sum(name in mine for mine in known) for name in everything}
    assert [row.name for row in busiest] == sorted(everything, key=lambda it: (-counts[it], it))
    assert {row.name: row.readers for row in busiest} == counts


@given(
    st.lists(st.lists(st.text("axy", min_size=1, max_size=3), unique=True), min_size=2, max_size=4),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_a_search_in_several_processes_finds_every_stream_once_wherever_each_page_ends(
    known: list[list[str]], limit: int, compared: int
) -> None:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        question = ListStreams("/r", contains="x", after=after, limit=limit)
        answers = [
            searched([StreamRow(name=name) for name in mine], question, compared) for mine in known
        ]
        merged = lists.page(question, answers, len(known))
        assert len(merged.rows) <= limit
        assert merged.after is None or merged.after > after
        found += [row.name for row in merged.rows]
        after = merged.after
    assert found == sorted({name for mine in known for name in mine if "x" in name})


def test_merging_stream_rows_takes_facts_from_any_process_and_sums_readers() -> None:
    here = StreamRow(name="a", readers=2, rate=0.5, tail="9", growth=7, last_append_at=3.0)
    there = StreamRow(name="a", readers=3, rate=1.0, size=9, closed=True)
    one = StreamPage((here,), None, 7.0)
    other = StreamPage((there,), None, 5.0, known_only=True)
    merged = lists.page(ListStreams("/r"), [one, other], 2)
    row = StreamRow(
        name="a",
        readers=5,
        rate=1.5,
        tail="9",
        size=9,
        closed=True,
        growth=7,
        last_append_at=3.0,
    )
    assert merged == StreamPage((row,), None, 5.0, known_only=True)


def test_merging_stream_descriptions_combines_all_processes() -> None:
    one = StreamDescription(
        StreamRow(name="a", readers=1),
        {"Stream-TTL": "5"},
        producers=(ProducerRow("p", 1, 2),),
        producers_in_all=1,
        readers_by_mode={"long-poll": 1},
    )
    other = StreamDescription(
        StreamRow(name="a", readers=2), {"X": "y"}, readers_by_mode={"sse": 2}
    )
    merged = lists.descriptions([other, one])
    assert merged.row.readers == 3
    assert merged.metadata == {"Stream-TTL": "5", "X": "y"}
    assert (merged.producers, merged.producers_in_all) == (one.producers, 1)
    assert merged.readers_by_mode == {"sse": 2, "long-poll": 1}


def explanation(result: str, rule: str = "a rule") -> Explanation:
    return Explanation((ExplainStep("The next answer", result, rule),), result)


def test_equal_explanations_of_workers_are_merged_into_one() -> None:
    assert lists.explanations([explanation("HIT")] * 3) == explanation("HIT")


def test_differing_explanations_of_workers_list_each_result_with_its_count() -> None:
    told = lists.explanations([explanation("MISS"), explanation("HIT"), explanation("MISS")])
    assert told.result == "MISS or HIT"
    assert told.steps[0] == explanation("MISS").steps[0]
    assert told.steps[-1].outcome == "MISS in 2, HIT in 1"
    older = lists.explanations([explanation("HIT", "fresh"), explanation("HIT", "1 s old")])
    assert (older.result, older.steps[-1].outcome) == ("HIT", "HIT in 2")
