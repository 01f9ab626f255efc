"""Chats of programs made of threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import flask
import pytest

from headgate import Conflict, RunState, sync
from headgate.sync.flask import chat_router
from tests.client.sync.feeds import Feed, read, read_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate.chats import Turn

QUESTION = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Why?"}]}


@pytest.fixture
def chats(runs: sync.Runs) -> sync.Chats:
    return sync.Chats(runs, busy_after=0)


def test_sync_chats_answer_stop_report_and_delete_a_chat(chats: sync.Chats) -> None:
    feed = Feed("Once ")
    stopped: list[threading.Event] = []

    def answer(turn: Turn) -> Iterator[object]:
        assert [each["id"] for each in turn.messages] == ["1"]
        stopped.append(chats.runs.stopped(turn.run_id))
        yield from feed.source()

    first = chats.send("c", QUESTION, answer)
    read_to(first, b'"delta":"Once "}\n\n')
    with pytest.raises(Conflict):
        chats.send("c", QUESTION | {"id": "2"}, answer)
    again = chats.resume("c")
    assert again is not None
    assert chats.stop("c")
    assert stopped[0].wait(10)
    feed.end()
    assert read(first).endswith(b"data: [DONE]\n\n")
    assert b'"type":"abort"' in read(again)
    page = chats.history("c")
    assert [each["role"] for each in page.messages] == ["user", "assistant"]
    state = chats.state("c")
    assert state is not None
    assert (state.status, chats.state("d")) == ("stopped", None)
    assert chats.runs.state(state.run_id) == RunState("stopped")
    assert chats.delete("c")
    assert chats.state("c") is None


def test_authorize_of_a_flask_chat_decides_in_the_thread_of_the_request(
    chats: sync.Chats,
) -> None:
    asked = []

    def may_use(request: flask.Request, chat: str) -> object:
        asked.append((threading.current_thread(), flask.request.path, request.path, chat))
        if chat == "d":
            flask.abort(401)
        return may_use_later() if chat == "e" else True

    async def may_use_later() -> bool:  # a coroutine is true, and must let no user in
        return False

    app = flask.Flask(__name__)
    app.register_blueprint(chat_router(chats, lambda _: [], authorize=may_use))
    statuses = [app.test_client().post(f"/api/chat/{chat}/stop").status_code for chat in "cde"]
    assert statuses == [200, 401, 403]
    path = "/api/chat/c/stop"
    assert asked[0] == (threading.current_thread(), path, path, "c")
