"""Chats: which run answers, what was said, and what two pages do at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from headgate import BadRequest, Closed, Conflict, ProtocolError
from headgate.chats import Chats
from headgate.chats.conversation import NEVER_BEGUN, Page
from headgate.records import RunState
from headgate.runs import Runs

from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import Feed, of, read, read_to
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.chats import Turn
    from headgate.runs import Answer

BUSY_AFTER_S = 0.3


def user(id_: str, text: str = "Tell.") -> dict[str, Any]:
    return {"id": id_, "role": "user", "parts": [{"type": "text", "text": text}]}


def texts(page: Page) -> list[str]:
    """Return what was said, without steps and ids."""
    return ["".join(part.get("text", "") for part in each["parts"]) for each in page.messages]


async def has_ended(chats: Chats, chat: str) -> bool:
    state = await chats.state(chat)
    return state is not None and state.status != "active"


class Model:
    """Says what it is told to, in turn, and remembers what it was asked."""

    def __init__(self, *sources: object) -> None:
        self.turns: list[Turn] = []
        self._sources = iter(sources)

    def __call__(self, turn: Turn) -> Any:
        self.turns.append(turn)
        source = next(self._sources)
        return of(source) if isinstance(source, str | dict) else source


@pytest.fixture
async def chats(runs: Runs) -> Chats:
    return Chats(runs, busy_after=BUSY_AFTER_S)


@pytest.fixture
async def elsewhere(other: Runs) -> Chats:
    """The same chats in another process of the application."""
    return Chats(other, busy_after=BUSY_AFTER_S)


@pytest.fixture
async def anywhere(any_url: str) -> AsyncIterator[Chats]:
    async with Runs(any_url, orphan_after=ORPHAN_AFTER_S) as runs:
        yield Chats(runs, busy_after=BUSY_AFTER_S)


async def test_a_chat_message_is_answered_and_stored_with_its_answer(anywhere: Chats) -> None:
    model = Model("Once", "upon")
    assert await anywhere.history("c") == Page([], None, {})
    first = await anywhere.send("c", user("1"), model)
    assert b'"delta":"Once"' in await read(first)
    await read(await anywhere.send("c", user("2", "And then?"), model, user="ann", body={"a": 1}))
    assert texts(await anywhere.history("c")) == ["Tell.", "Once", "And then?", "upon"]
    turn = model.turns[1]
    assert (turn.chat_id, turn.user, turn.body) == ("c", "ann", {"a": 1})
    assert [each["role"] for each in turn.messages] == ["user", "assistant", "user"]
    state = await anywhere.state("c")
    assert state is not None
    assert (state.run_id, state.status) == (turn.run_id, "finished")


async def test_a_message_sent_concurrently_from_two_replicas_starts_one_run(
    anywhere: Chats,
) -> None:
    model = Model(*["Once"] * 8)
    url = anywhere.runs._place("x").items.url.removesuffix("/x")
    async with Runs(url, orphan_after=ORPHAN_AFTER_S) as other:
        two = [anywhere, Chats(other, busy_after=BUSY_AFTER_S)]
        sent = [two[number % 2].send("c", user("1"), model) for number in range(8)]
        bodies = {await read(answer) for answer in await asyncio.gather(*sent)}
    assert len(model.turns) == len(bodies) == 1
    assert texts(await anywhere.history("c")) == ["Tell.", "Once"]


async def test_of_two_concurrent_messages_one_is_answered_and_one_raises_chat_busy(
    chats: Chats, elsewhere: Chats
) -> None:
    feed = Feed("Once")
    model = Model(feed.source(), feed.source())
    sent = await asyncio.gather(
        chats.send("c", user("1"), model),
        elsewhere.send("c", user("2"), model),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in sent) == ["Answer", "Conflict"]
    feed.end()
    await until(lambda: has_ended(chats, "c"))
    assert len(model.turns) == 1
    assert len((await chats.history("c")).messages) == 2


async def test_a_message_sent_after_a_stop_waits_for_the_stopped_answer_to_end(
    runs: Runs, elsewhere: Chats
) -> None:
    chats = Chats(runs)
    feed = Feed("Once")
    answer = await chats.send("c", user("1"), Model(feed.source()))
    await read_to(answer, b'"Once"}\n\n')
    assert await elsewhere.stop("c")
    await read(await chats.send("c", user("2"), Model("upon")))
    assert texts(await chats.history("c")) == ["Tell.", "Once", "Tell.", "upon"]
    assert await chats.stop("c") is False


async def test_resending_an_answered_message_returns_its_answer_without_a_new_run(
    chats: Chats,
) -> None:
    model = Model("Once", RuntimeError)
    first = await read(await chats.send("c", user("1"), model))
    assert await read(await chats.send("c", user("1"), model)) == first
    assert len(model.turns) == 1


async def test_resending_a_message_whose_answer_failed_starts_a_new_answer(chats: Chats) -> None:
    feed = Feed("On", ValueError("overloaded"))
    model = Model(feed.source(), "Once")
    assert b'"type":"error"' in await read(await chats.send("c", user("1"), model))
    assert texts(await chats.history("c")) == ["Tell.", "On"]
    await read(await chats.send("c", user("1"), model))
    assert texts(await chats.history("c")) == ["Tell.", "Once"]


async def test_a_regenerated_answer_replaces_the_previous_one_in_the_history(
    chats: Chats,
) -> None:
    model = Model("Once", "upon", "a", "time")
    await read(await chats.send("c", user("1"), model))
    await read(await chats.send("c", user("2", "And?"), model))
    for said in ("a", "time"):
        again = await chats.send("c", user("2", "And?"), model, trigger="regenerate-message")
        await read(again)
        assert texts(await chats.history("c")) == ["Tell.", "Once", "And?", said]
    assert [len(turn.messages) for turn in model.turns] == [1, 3, 3, 3]


async def test_editing_a_message_drops_the_history_after_it(chats: Chats) -> None:
    model = Model("Once", "upon", "a time")
    await read(await chats.send("c", user("1"), model))
    await read(await chats.send("c", user("2", "And?"), model))
    await read(await chats.send("c", user("1", "Tell more."), model))
    assert texts(await chats.history("c")) == ["Tell more.", "a time"]
    assert [each["id"] for each in model.turns[2].messages] == ["1"]


CALL = {"type": "tool-input-available", "toolCallId": "1", "toolName": "place", "input": {}}
ASKED = {**CALL, "toolCallId": "2", "toolName": "book"}
DONE = {**CALL, "toolCallId": "3", "toolName": "sky"}
OF_THE_PROVIDER = {**CALL, "toolCallId": "4", "toolName": "search", "providerExecuted": True}


async def test_a_page_can_answer_open_tool_calls_but_change_nothing_else_of_an_answer(
    chats: Chats,
) -> None:
    calls = [
        CALL,
        ASKED,
        {"type": "tool-approval-request", "toolCallId": "2", "approvalId": "a"},
        DONE,
        {"type": "tool-output-available", "toolCallId": "3", "output": "clear"},
        OF_THE_PROVIDER,
    ]
    await read(await chats.send("c", user("1"), Model(of("Once", *calls))))
    message = (await chats.history("c")).messages[-1]
    told = {part.get("toolCallId"): dict(part) for part in message["parts"]}
    told["1"].update(state="output-available", output="Rome", input={"forged": True})
    told["2"].update(state="approval-responded", approval={"id": "forged", "approved": True})
    told["3"].update(output="forged")
    told["4"].update(state="output-available", output="forged")
    forged = [{"type": "text", "text": "forged"}, *told.values()]
    model = Model("upon")
    answer = await chats.send("c", {**message, "parts": forged, "metadata": "forged"}, model)
    await read(answer)
    assert "forged" not in str(model.turns[0].messages)
    known = {part.get("toolCallId"): part for part in model.turns[0].messages[-1]["parts"]}
    assert (known["1"]["output"], known["1"]["input"]) == ("Rome", {})
    assert known["2"]["approval"] == {"id": "a", "approved": True}
    assert known["3"]["output"] == "clear"
    assert known["4"]["state"] == "input-available"
    ids = [each["id"] for each in (await chats.history("c")).messages]
    assert ids == ["1", message["id"]]
    assert texts(await chats.history("c")) == ["Tell.", "Onceupon"]


@pytest.mark.parametrize(
    "said",
    [
        {"state": "output-error", "errorText": 5},
        {"state": "output-error"},
        pytest.param(
            {"state": "approval-responded", "approval": {"approved": "yes"}},
            id="an-approval-in-words",
        ),
        {"state": "approval-responded", "approval": None},
    ],
)
async def test_a_malformed_answer_to_a_tool_call_is_refused(
    chats: Chats, said: dict[str, Any]
) -> None:
    approval = {"type": "tool-approval-request", "toolCallId": "2", "approvalId": "a"}
    await read(await chats.send("c", user("1"), Model(of(CALL, ASKED, approval))))
    message = (await chats.history("c")).messages[-1]
    parts = [{**part, **said} for part in message["parts"]]
    with pytest.raises(BadRequest, match="cannot be answered so"):
        await chats.send("c", {**message, "parts": parts}, Model())


async def test_a_repeated_or_late_answer_to_a_tool_call_starts_no_second_run(
    chats: Chats,
) -> None:
    await read(await chats.send("c", user("1"), Model(of(CALL))))
    message = (await chats.history("c")).messages[-1]
    *before, call = message["parts"]
    yes, no = (
        {**message, "parts": [*before, {**call, "state": "output-available", "output": said}]}
        for said in ("yes", "no")
    )
    model = Model("upon")
    bodies = {await read(await chats.send("c", each, model)) for each in (yes, yes, no)}
    assert (len(bodies), len(model.turns)) == (1, 1)
    assert (await chats.history("c")).messages[-1]["parts"][1]["output"] == "yes"


async def test_an_assistant_message_with_an_unknown_id_is_refused(chats: Chats) -> None:
    with pytest.raises(BadRequest, match="no message of the assistant's with the id 'm'"):
        await chats.send("c", {"id": "m", "role": "assistant", "parts": []}, Model())


async def test_a_chat_history_is_read_page_by_page(chats: Chats) -> None:
    model = Model(*"abcd")
    for number in range(4):
        await read(await chats.send("c", user(str(number), str(number)), model))
    last = await chats.history("c", limit=3)
    middle = await chats.history("c", limit=3, before=last.before)
    first = await chats.history("c", limit=3, before=middle.before)
    assert [texts(page) for page in (first, middle, last)] == [
        ["0", "a"],
        ["1", "b", "2"],
        ["c", "3", "d"],
    ]
    assert first.before is None
    with pytest.raises(BadRequest, match="no message with the id 'x'"):
        await chats.history("c", before="x")
    with pytest.raises(ValueError, match="limit"):
        await chats.history("c", limit=0)


async def test_reading_the_history_after_an_answer_stores_it_independently_of_its_run(
    chats: Chats, runs: Runs
) -> None:
    answer = await chats.send("c", user("1"), Model("Once"))
    await read(answer)
    assert texts(await chats.history("c")) == ["Tell.", "Once"]
    await runs.delete(answer.headers["x-workflow-run-id"])
    assert texts(await chats.history("c")) == ["Tell.", "Once"]


async def test_a_question_whose_process_died_before_its_run_fails_and_the_next_is_answered(
    chats: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(chats.runs, "start", die)
        with pytest.raises(asyncio.CancelledError):
            await chats.send("c", user("1"), Model("lost"))
    state = await chats.state("c")
    assert state is not None
    assert RunState(state.status, state.error) == NEVER_BEGUN
    await read(await chats.send("c", user("2"), Model("Once")))
    assert texts(await chats.history("c")) == ["Tell.", "Tell.", "Once"]


class LateStarts:
    """Lets runs of these `Runs` begin only once `go` is set."""

    def __init__(self, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_asked, self.go = asyncio.Event(), asyncio.Event()
        self._start = runs.start
        monkeypatch.setattr(runs, "start", self._started)

    async def _started(self, *about: Any, **more: Any) -> Answer:
        self.is_asked.set()
        await self.go.wait()
        return await self._start(*about, **more)


async def test_a_message_waits_until_the_run_of_the_previous_message_has_started(
    runs: Runs, other: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, feed = LateStarts(runs, monkeypatch), Feed("Once")
    first = asyncio.create_task(Chats(runs).send("c", user("1"), Model(feed.source())))
    await late.is_asked.wait()
    model = Model("upon")
    second = asyncio.create_task(Chats(other, busy_after=0).send("c", user("2"), model))
    await asyncio.wait({second}, timeout=0.5)
    assert not second.done()
    late.go.set()
    answer = await first
    with pytest.raises(Conflict):
        await second
    feed.end()
    assert b"Once" in await read(answer)
    assert model.turns == []


async def test_a_run_given_up_before_its_start_never_starts(
    runs: Runs, elsewhere: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.chats.chats.BEGINS_WITHIN_S", 0.05)
    late, model = LateStarts(runs, monkeypatch), Model(Feed("lost").source())
    first = asyncio.create_task(Chats(runs).send("c", user("1"), model))
    await late.is_asked.wait()
    await read(await elsewhere.send("c", user("2"), Model("Once")))
    late.go.set()
    with pytest.raises(Conflict, match="another message"):
        await first
    assert texts(await elsewhere.history("c")) == ["Tell.", "Tell.", "Once"]
    state = await elsewhere.runs.state(model.turns[0].run_id)
    assert state == NEVER_BEGUN


async def test_an_answer_is_stored_although_the_next_message_arrived_as_it_started(
    chats: Chats, elsewhere: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, model = chats.runs.start, Model("Once")

    async def start_slowly(*about: Any, **more: Any) -> Answer:
        answer = await start(*about, **more)
        await read(await elsewhere.send("c", user("2"), Model("upon")))
        return answer

    monkeypatch.setattr(chats.runs, "start", start_slowly)
    assert b"Once" in await read(await chats.send("c", user("1"), model))
    assert texts(await chats.history("c")) == ["Tell.", "Once", "Tell.", "upon"]


async def test_a_message_sent_while_its_chat_is_deleted_begins_a_new_chat(
    chats: Chats, elsewhere: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await read(await chats.send("c", user(str(number)), Model("Once")))
    claim = chats._claim  # no request of another client can be put behind the read before it

    async def claim_late(*about: Any) -> int | None:
        monkeypatch.undo()
        assert await elsewhere.delete("c")
        return await claim(*about)

    monkeypatch.setattr(chats, "_claim", claim_late)
    model = Model("again", "and on")
    await read(await chats.send("c", user("4", "New."), model))
    await read(await elsewhere.send("c", user("5"), model))
    assert texts(await chats.history("c")) == ["New.", "again", "Tell.", "and on"]
    assert len(model.turns[0].messages) == 1


async def test_an_answer_nested_too_deeply_to_be_stored_is_read_from_its_run_each_time(
    chats: Chats,
) -> None:
    deep: Any = 1
    for _ in range(62):
        deep = {"a": deep}
    await read(await chats.send("c", user("1"), Model({"type": "data-x", "data": deep})))
    for _ in range(2):
        page = await chats.history("c")
        assert page.messages[1]["parts"] == [{"type": "data-x", "data": deep}]
    await read(await chats.send("c", user("2"), Model("upon")))
    assert texts(await chats.history("c")) == ["Tell.", "", "Tell.", "upon"]


async def test_a_chat_keeps_the_partial_answer_of_a_dead_producer_and_takes_messages(
    chats: Chats, elsewhere: Chats
) -> None:
    answer = await chats.send("c", user("1"), Model(Feed("Once").source()))
    await read_to(answer, b'"Once"}\n\n')
    for task in asyncio.all_tasks():
        if task.get_name() == f"run {answer.headers['x-workflow-run-id']}":
            task.cancel()
    await until(lambda: has_ended(elsewhere, "c"))
    state = await elsewhere.state("c")
    assert state is not None
    assert state.status == "orphaned"
    await read(await elsewhere.send("c", user("2"), Model("upon")))
    assert texts(await elsewhere.history("c")) == ["Tell.", "Once", "Tell.", "upon"]


async def test_an_orphaned_answer_blocks_its_chat_until_taken_over_and_finished(url: str) -> None:
    async with Runs(url, orphan_after=ORPHAN_AFTER_S, takeover_within=60) as runs:
        chats = Chats(runs, busy_after=0)
        answer = await chats.send("c", user("1"), Model(Feed("Once").source()))
        await read_to(answer, b'"Once"}\n\n')
        run = answer.headers["x-workflow-run-id"]
        for task in asyncio.all_tasks():
            if task.get_name() == f"run {run}":
                task.cancel()
        await until(lambda: has_ended(chats, "c"))
        state = await chats.state("c")
        assert state is not None
        assert state.error == "its producer is gone, and it can be taken over"
        with pytest.raises(Conflict):
            await chats.send("c", user("2"), Model("upon"))
        await runs.take_over(run, lambda _: of("upon"), format="ai-sdk")
        assert texts(await chats.history("c")) == ["Tell.", "Onceupon"]


async def test_a_returning_page_resumes_the_active_answer_of_its_chat(
    chats: Chats, elsewhere: Chats
) -> None:
    assert await chats.resume("c") is None
    feed = Feed("Once")
    answer = await chats.send("c", user("1"), Model(feed.source()))
    run = answer.headers["x-workflow-run-id"]
    back = await elsewhere.resume("c")
    assert back is not None
    assert back.headers["x-workflow-run-id"] == run
    feed.end()
    whole = await read(answer)
    assert await read(back) == whole
    assert await elsewhere.resume("c") is None
    rest = await read(await elsewhere.resume(run, 2))
    assert whole.endswith(rest)
    assert whole != rest


async def test_resuming_a_chat_with_wait_returns_the_answer_to_the_next_question(
    chats: Chats, elsewhere: Chats
) -> None:
    assert await elsewhere.resume("c", wait=0.01) is None
    for said in ("Once", "upon"):
        waiting = asyncio.create_task(elsewhere.resume("c", wait=30))
        feed = Feed(said)
        answer = await chats.send("c", user(said), Model(feed.source()))
        back = await waiting
        feed.end()
        assert await read(back) == await read(answer)


async def test_deleting_a_chat_deletes_all_its_answers(chats: Chats, runs: Runs) -> None:
    await read(await chats.send("c", user("1"), Model("Once")))
    feed = Feed("upon")
    answer = await chats.send("c", user("2"), Model(feed.source()))
    assert await chats.delete("c")
    await feed.closed.wait()
    assert b"[DONE]" in await read(answer)
    newest = runs._place(answer.headers["x-workflow-run-id"])
    left = (newest.items, newest.lease, newest.stop, runs._place("c.chat").items)
    assert [await stream.find() for stream in left] == [None] * 4
    assert await chats.delete("c") is False
    assert await chats.history("c") == Page([], None, {})
    await read(await chats.send("c", user("1"), Model("again")))
    assert texts(await chats.history("c")) == ["Tell.", "again"]


async def test_deleting_a_chat_before_the_run_of_a_question_starts_leaves_no_run(
    chats: Chats, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, model = runs.start, Model(Feed("Once").source())

    async def start_late(*about: Any, **more: Any) -> Answer:
        assert await chats.delete("c")
        return await start(*about, **more)

    monkeypatch.setattr(runs, "start", start_late)
    with pytest.raises(Conflict, match="deleted"):
        await chats.send("c", user("1"), model)
    assert await runs.state(model.turns[0].run_id) is None
    assert await chats.state("c") is None


async def test_a_run_that_starts_while_its_chat_is_being_deleted_is_deleted(
    chats: Chats, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, model = runs.start, Model(Feed("Once").source())

    async def start_late(*about: Any, **more: Any) -> Answer:
        await runs._place("c.chat").items.close()  # its runs have been deleted, and it has not
        return await start(*about, **more)

    monkeypatch.setattr(runs, "start", start_late)
    with pytest.raises(Conflict, match="deleted"):
        await chats.send("c", user("1"), model)
    assert await runs.state(model.turns[0].run_id) is None


async def test_a_chat_that_is_being_deleted_refuses_messages(chats: Chats, runs: Runs) -> None:
    await read(await chats.send("c", user("1"), Model("Once")))
    await runs._place("c.chat").items.close()
    with pytest.raises(Closed):
        await chats.send("c", user("2"), Model("upon"))
    assert await chats.delete("c")


async def test_the_state_of_a_chat_is_that_of_its_newest_run(chats: Chats) -> None:
    await read(await chats.send("a", user("1"), Model("Once")))
    await chats.send("b", user("1"), Model(Feed("On").source()))
    states = await asyncio.gather(*map(chats.state, ("b", "none", "a")))
    assert [state and state.status for state in states] == ["active", None, "finished"]


@pytest.mark.parametrize(
    "chat", ["", "a/b", "a.b", "é", pytest.param("a" * 129, id="over-the-limit"), ".."]
)
async def test_an_invalid_chat_id_is_refused_by_every_call(chats: Chats, chat: str) -> None:
    for asked in (chats.send(chat, user("1"), Model()), chats.resume(chat), chats.state(chat)):
        with pytest.raises(BadRequest):
            await asked


async def test_the_longest_allowed_chat_id_is_accepted(chats: Chats) -> None:
    chat = "a" * 128
    await read(await chats.send(chat, user("1"), Model("upon")))
    assert texts(await chats.history(chat)) == ["Tell.", "upon"]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "parts": []},
        {"id": "", "role": "user", "parts": []},
        {"id": "1", "role": "system", "parts": []},
        {"id": "1", "role": "user"},
        {"id": "1", "role": "user", "parts": [{}]},
        {"id": "1", "role": "user", "parts": [{"type": "text"}]},
        {"id": "1", "role": ["user"], "parts": []},
        user("1", "\ud800"),
    ],
    ids=[
        "without an id",
        "empty id",
        "system role",
        "without parts",
        "part without a type",
        "text part without text",
        "role in a list",
        "lone surrogate",
    ],
)
async def test_a_malformed_chat_message_is_refused(chats: Chats, message: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        await chats.send("c", message, Model())


async def test_a_chat_message_nested_too_deeply_is_refused(chats: Chats) -> None:
    message = user("1")
    for _ in range(9_999):
        message["metadata"] = {"deeper": message.get("metadata")}
    with pytest.raises(BadRequest, match="too deep"):
        await chats.send("c", message, Model())


async def test_reading_a_stream_without_chat_records_as_a_chat_raises_a_protocol_error(
    chats: Chats, runs: Runs
) -> None:
    log = runs._place("c.chat").items
    await log.create(content_type="application/json", body=b'[{"a":1}]')
    with pytest.raises(ProtocolError, match="not a chat"):
        await chats.history("c")
