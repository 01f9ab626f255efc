"""Chats: which run answers, what was said, and what two pages do at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from headgate import BadRequest, Closed, Conflict, ProtocolError
from headgate.chats import Chats
from headgate.chats.conversation import NEVER_BEGUN, ChatHistory
from headgate.runs import Runs
from tests.client.runs.chat_histories import SHORT_BURSTS, play
from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import Feed, of, read, read_to
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from headgate.chats import Turn
    from headgate.runs import Answer

    Between = Callable[[Callable[[], Awaitable[object]]], None]

BUSY_AFTER_S = 0.3
RUN = "x-workflow-run-id"


def user(id_: str, text: str = "Tell.") -> dict[str, Any]:
    return {"id": id_, "role": "user", "parts": [{"type": "text", "text": text}]}


class Model:
    """Says what it is told to, in turn, and remembers what it was asked."""

    def __init__(self, *sources: object) -> None:
        self.turns: list[Turn] = []
        self._sources = iter(sources)

    def __call__(self, turn: Turn) -> Any:
        self.turns.append(turn)
        source = next(self._sources)
        return of(source) if isinstance(source, str | dict) else source


async def tell(chats: Chats, message: dict[str, Any], *said: object, **about: Any) -> bytes:
    """Send a message, which a model answers so, and read the answer."""
    model = said[0] if isinstance(said[0], Model) else Model(of(*said))
    return await read(await chats.send("c", message, model, **about))


async def texts(chats: Chats) -> list[str]:
    """Return what was said, without steps and ids."""
    messages = (await chats.history("c")).messages
    return ["".join(part.get("text", "") for part in each["parts"]) for each in messages]


async def ended(chats: Chats) -> Any:
    """Wait for the end of the newest answer, and return its state."""

    async def has_ended() -> bool:
        state = await chats.state("c")
        return state is not None and state.status != "active"

    await until(has_ended)
    return await chats.state("c")


def kill_producer(answer: Answer) -> None:
    for task in asyncio.all_tasks():
        if task.get_name() == f"run {answer.headers[RUN]}":
            task.cancel()


@pytest.fixture
async def chats(runs: Runs) -> Chats:
    return Chats(runs, busy_after=BUSY_AFTER_S)


@pytest.fixture
async def elsewhere(other: Runs) -> Chats:
    """The same chats in another process of the application."""
    return Chats(other, busy_after=BUSY_AFTER_S)


@pytest.fixture
async def anywhere(any_url: str) -> AsyncIterator[tuple[Chats, Chats]]:
    """Chats and the same in another process, on each kind of server."""
    about: Any = {"orphan_after": ORPHAN_AFTER_S}
    async with Runs(any_url, **about) as runs, Runs(any_url, **about) as other:
        yield Chats(runs, busy_after=BUSY_AFTER_S), Chats(other, busy_after=BUSY_AFTER_S)


async def test_a_chat_message_is_answered_and_stored_with_its_answer(
    anywhere: tuple[Chats, Chats],
) -> None:
    chats, elsewhere = anywhere
    model = Model("Once", "upon")
    assert await chats.history("c") == ChatHistory([], {})
    assert b'"delta":"Once"' in await tell(chats, user("1"), model)
    await tell(elsewhere, user("2", "And then?"), model, user="ann", body={"a": 1})
    assert await texts(chats) == ["Tell.", "Once", "And then?", "upon"]
    turn = model.turns[1]
    assert (turn.chat_id, turn.user, turn.body) == ("c", "ann", {"a": 1})
    assert [each["role"] for each in turn.messages] == ["user", "assistant", "user"]
    state = await chats.state("c")
    assert state is not None
    assert (state.run_id, state.status) == (turn.run_id, "finished")
    await chats.runs.delete(turn.run_id)  # the chat has its message
    assert (await texts(chats))[-1] == "upon"
    assert await chats.state("d") is None


async def test_a_message_sent_concurrently_from_two_replicas_starts_one_run(
    anywhere: tuple[Chats, Chats],
) -> None:
    model = Model(*["Once"] * 8)
    sent = [tell(anywhere[number % 2], user("1"), model) for number in range(8)]
    assert len({*await asyncio.gather(*sent)}) == len(model.turns) == 1
    assert await texts(anywhere[0]) == ["Tell.", "Once"]


async def test_of_two_concurrent_messages_one_is_answered_and_one_raises_conflict(
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
    await ended(chats)
    assert len(model.turns) == 1
    assert len(await texts(chats)) == 2


async def test_a_message_sent_after_a_stop_waits_for_the_stopped_answer_to_end(
    runs: Runs, elsewhere: Chats
) -> None:
    chats = Chats(runs)
    answer = await chats.send("c", user("1"), Model(Feed("Once").source()))
    await read_to(answer, b'"Once"}\n\n')
    assert await elsewhere.stop("c")
    await tell(chats, user("2"), "upon")
    assert await texts(chats) == ["Tell.", "Once", "Tell.", "upon"]
    assert await chats.stop("c") is False


ANEW: dict[str, Any] = {"trigger": "regenerate-message"}
FAILED = ["On", ValueError()]


@pytest.mark.parametrize(
    ("said", "again", "about", "left"),
    [
        pytest.param(["Once"], user("2", "And?"), {}, "Tell. a And? Once", id="the same"),
        pytest.param(FAILED, user("2", "And?"), {}, "Tell. a And? b", id="failed"),
        pytest.param(["Once"], user("2", "And?"), ANEW, "Tell. a And? b", id="regenerated"),
        pytest.param(["Once"], user("2", "More?"), {}, "Tell. a More? b", id="edited"),
        pytest.param(["Once"], user("1", "No."), {}, "No. b", id="an earlier one edited"),
    ],
)
async def test_a_message_that_comes_again_has_one_answer_and_ends_what_came_after(
    chats: Chats, said: list[object], again: dict[str, Any], about: dict[str, Any], left: str
) -> None:
    await tell(chats, user("1"), "a")
    first = await tell(chats, user("2", "And?"), Model(Feed(*said, StopAsyncIteration).source()))
    model = Model("b")
    is_repeated = await tell(chats, again, model, **about) == first
    assert await texts(chats) == left.split()
    asked = [[each["id"] for each in turn.messages] for turn in model.turns]
    before = [each["id"] for each in (await chats.history("c")).messages[:-1]]
    assert asked == ([] if is_repeated else [before])


CALL = {"type": "tool-input-available", "toolCallId": "1", "toolName": "place", "input": {}}
ASKED = {**CALL, "toolCallId": "2", "toolName": "book"}
APPROVAL = {"type": "tool-approval-request", "toolCallId": "2", "approvalId": "a"}
DONE = {**CALL, "toolCallId": "3", "toolName": "sky"}
OUTPUT = {"type": "tool-output-available", "toolCallId": "3", "output": "clear"}
OF_THE_PROVIDER = {**CALL, "toolCallId": "4", "toolName": "search", "providerExecuted": True}


async def test_a_page_can_answer_open_tool_calls_but_change_nothing_else_of_an_answer(
    chats: Chats,
) -> None:
    await tell(chats, user("1"), "Once", CALL, ASKED, APPROVAL, DONE, OUTPUT, OF_THE_PROVIDER)
    message = (await chats.history("c")).messages[-1]
    told = {part.get("toolCallId"): dict(part) for part in message["parts"]}
    told["1"].update(state="output-available", output="Rome", input={"forged": True})
    told["2"].update(state="approval-responded", approval={"id": "forged", "approved": True})
    told["3"].update(output="forged")
    told["4"].update(state="output-available", output="forged")
    forged = [{"type": "text", "text": "forged"}, *told.values()]
    model = Model("upon")
    await tell(chats, {**message, "parts": forged, "metadata": "forged"}, model)
    assert "forged" not in str(model.turns[0].messages)
    known = {part.get("toolCallId"): part for part in model.turns[0].messages[-1]["parts"]}
    assert (known["1"]["output"], known["1"]["input"]) == ("Rome", {})
    assert known["2"]["approval"] == {"id": "a", "approved": True}
    assert known["3"]["output"] == "clear"
    assert known["4"]["state"] == "input-available"
    ids = [each["id"] for each in (await chats.history("c")).messages]
    assert ids == ["1", message["id"]]
    assert await texts(chats) == ["Tell.", "Onceupon"]


async def test_a_malformed_answer_to_a_tool_call_is_refused(chats: Chats) -> None:
    await tell(chats, user("1"), CALL, ASKED, APPROVAL)
    message = (await chats.history("c")).messages[-1]
    for said in (
        {"state": "output-error", "errorText": 5},
        {"state": "output-error"},
        {"state": "approval-responded", "approval": {"approved": "yes"}},
        {"state": "approval-responded", "approval": None},
    ):
        parts = [{**part, **said} for part in message["parts"]]
        with pytest.raises(BadRequest, match="cannot be answered so"):
            await chats.send("c", {**message, "parts": parts}, Model())


async def test_a_repeated_or_late_answer_to_a_tool_call_starts_no_second_run(
    chats: Chats,
) -> None:
    await tell(chats, user("1"), CALL)
    message = (await chats.history("c")).messages[-1]
    *before, call = message["parts"]
    yes, no = (
        {**message, "parts": [*before, {**call, "state": "output-available", "output": said}]}
        for said in ("yes", "no")
    )
    model = Model("upon")
    bodies = {await tell(chats, each, model) for each in (yes, yes, no)}
    assert (len(bodies), len(model.turns)) == (1, 1)
    assert (await chats.history("c")).messages[-1]["parts"][1]["output"] == "yes"


@pytest.fixture
def between(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Between:
    """A function that does something once after a question was asked, before its run starts."""
    start = runs.start

    def do_once(act: Callable[[], Awaitable[object]]) -> None:
        async def start_later(*about: Any, **more: Any) -> Answer:
            monkeypatch.undo()
            await act()
            return await start(*about, **more)

        monkeypatch.setattr(runs, "start", start_later)

    return do_once


async def test_a_question_whose_process_died_before_its_run_fails_and_the_next_is_answered(
    chats: Chats, between: Between
) -> None:
    between(asyncio.Event().wait)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(chats.send("c", user("1"), Model("lost")), BUSY_AFTER_S)
    state = await chats.state("c")
    assert state is not None
    assert (state.status, state.error) == (NEVER_BEGUN.status, NEVER_BEGUN.error)
    await tell(chats, user("2"), "Once")
    assert await texts(chats) == ["Tell.", "Tell.", "Once"]


@pytest.mark.parametrize("act", ["another message", "a deletion", "half a deletion"])
async def test_a_run_never_starts_once_its_chat_has_gone_on_without_it(
    chats: Chats,
    elsewhere: Chats,
    between: Between,
    monkeypatch: pytest.MonkeyPatch,
    act: str,
) -> None:
    monkeypatch.setattr("headgate.chats.chats.BEGINS_WITHIN_S", 0.05)
    log = elsewhere.runs._place("c.chat").items
    acts: dict[str, Callable[[], Awaitable[object]]] = {
        "another message": lambda: tell(elsewhere, user("2"), "Once"),
        "a deletion": lambda: elsewhere.delete("c"),
        "half a deletion": log.close,  # the runs that were there have been deleted
    }
    between(acts[act])
    model = Model(Feed("lost").source())
    with pytest.raises(Conflict, match=r"another message|deleted"):
        await chats.send("c", user("1"), model)
    left = {"another message": NEVER_BEGUN}.get(act)
    assert await elsewhere.runs.state(model.turns[0].run_id) == left
    if left:
        assert await texts(elsewhere) == ["Tell.", "Tell.", "Once"]


async def test_a_message_sent_while_its_chat_is_deleted_begins_a_new_chat(
    chats: Chats, elsewhere: Chats, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model("Once", "again")
    await tell(chats, user("1"), model)
    claim = chats._claim  # no request of another client can be put behind the read before it

    async def claim_late(*about: Any) -> int | None:
        monkeypatch.undo()
        assert await elsewhere.delete("c")
        return await claim(*about)

    monkeypatch.setattr(chats, "_claim", claim_late)
    await tell(chats, user("2", "New."), model)
    assert await texts(chats) == ["New.", "again"]
    assert len(model.turns[1].messages) == 1


async def test_an_answer_nested_too_deeply_to_be_stored_is_read_from_its_run_each_time(
    chats: Chats,
) -> None:
    deep: Any = 1
    for _ in range(62):
        deep = {"a": deep}
    await tell(chats, user("1"), {"type": "data-x", "data": deep})
    for _ in range(2):
        page = await chats.history("c")
        assert page.messages[1]["parts"] == [{"type": "data-x", "data": deep}]
    await tell(chats, user("2"), "upon")
    assert await texts(chats) == ["Tell.", "", "Tell.", "upon"]


@pytest.mark.parametrize("takeover_within", [0, 60])
async def test_the_answer_of_a_dead_producer_ends_or_waits_to_be_taken_over(
    url: str, elsewhere: Chats, takeover_within: int
) -> None:
    about: Any = {"orphan_after": ORPHAN_AFTER_S, "takeover_within": takeover_within}
    async with Runs(url, **about) as runs:
        chats = Chats(runs, busy_after=0)
        answer = await chats.send("c", user("1"), Model(Feed("Once").source()))
        await read_to(answer, b'"Once"}\n\n')
        kill_producer(answer)
        assert (await ended(chats)).status == "orphaned"
        if takeover_within:
            with pytest.raises(Conflict):
                await chats.send("c", user("2"), Model())
            await runs.take_over(answer.headers[RUN], lambda _: of("upon"), format="ai-sdk")
            assert await texts(chats) == ["Tell.", "Onceupon"]
        else:
            await tell(elsewhere, user("2"), "upon")
            assert await texts(elsewhere) == ["Tell.", "Once", "Tell.", "upon"]


async def test_a_returning_page_resumes_the_active_answer_of_its_chat(
    chats: Chats, elsewhere: Chats
) -> None:
    assert await chats.resume("c") is None
    feed = Feed("Once")
    answer = await chats.send("c", user("1"), Model(feed.source()))
    run = answer.headers[RUN]
    back = await elsewhere.resume("c")
    assert back is not None
    assert back.headers[RUN] == run
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
    assert await elsewhere.runs._place("c.chat").items.find() is None
    for said in ("Once", "upon"):
        waiting = asyncio.create_task(elsewhere.resume("c", wait=30))
        feed = Feed(said)
        answer = await chats.send("c", user(said), Model(feed.source()))
        back = await waiting
        feed.end()
        assert await read(back) == await read(answer)


async def test_deleting_a_chat_deletes_all_its_answers(chats: Chats, runs: Runs) -> None:
    await tell(chats, user("1"), "Once")
    feed = Feed("upon")
    answer = await chats.send("c", user("2"), Model(feed.source()))
    assert await chats.delete("c")
    await feed.closed.wait()
    assert b"[DONE]" in await read(answer)
    newest = runs._place(answer.headers[RUN])
    left = (newest.items, newest.lease, newest.stop, runs._place("c.chat").items)
    assert [await stream.find() for stream in left] == [None] * 4
    assert await chats.delete("c") is False
    assert await chats.history("c") == ChatHistory([], {})
    await tell(chats, user("1"), "again")
    assert await texts(chats) == ["Tell.", "again"]


async def test_a_chat_that_is_being_deleted_refuses_messages(chats: Chats, runs: Runs) -> None:
    await tell(chats, user("1"), "Once")
    await runs._place("c.chat").items.close()
    with pytest.raises(Closed):
        await chats.send("c", user("2"), Model("upon"))
    assert await chats.delete("c")


def nested(levels: int) -> dict[str, Any]:
    """A message with so many levels of JSON."""
    deep: Any = 1
    for _ in range(levels - 1):
        deep = {"deeper": deep}
    return user("1") | {"metadata": deep}


async def test_a_message_as_deep_as_a_server_stores_is_stored(chats: Chats) -> None:
    await tell(chats, nested(63), "Once")
    assert (await chats.history("c")).messages[0] == nested(63)


async def test_an_invalid_chat_id_message_or_stream_is_refused(chats: Chats, runs: Runs) -> None:
    for chat in ("", "a/b", "a.b", "é", "a" * 129, ".."):
        for asked in (chats.send(chat, user("1"), Model()), chats.resume(chat), chats.state(chat)):
            with pytest.raises(BadRequest):
                await asked
    await read(await chats.send("a" * 128, user("1"), Model("upon")))
    refused = [(user("1", "\ud800"), "half of a surrogate pair")]
    refused += [(nested(levels), "nested more than 63 levels deep") for levels in (64, 9_999)]
    for message, why in refused:
        with pytest.raises(BadRequest, match=why):
            await chats.send("c", message, Model())
    await runs._place("c.chat").items.create(content_type="application/json", body=b'[{"a":1}]')
    with pytest.raises(ProtocolError, match="not a chat"):
        await chats.history("c")


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)  # what is given up is waited for
async def test_random_histories_of_chats_fulfil_the_promises_of_chats() -> None:
    seen = await play(1, bursts=SHORT_BURSTS)
    assert seen["answered"] > 0
    assert seen["deleted"] > 0
