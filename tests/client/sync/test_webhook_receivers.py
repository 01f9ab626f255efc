"""Receivers of webhooks for threads: the view of the page in a real server of Flask."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING, Any

import flask
import headgate.sync
import pytest
from headgate import NotAuthorized
from werkzeug.serving import make_server

from tests.client.sync.test_workers import send
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.threaded import Threaded

(VIEW,) = re.findall(
    r"```python\n(receiver = headgate\.sync.*?)```",
    (ROOT / "docs/client/worker.md").read_text(),
    re.DOTALL,
)


class Hooks:
    """The application of the page, as it is served; it notes requests and messages."""

    def __init__(self, server: Threaded) -> None:
        self.requests: list[tuple[bytes, dict[str, str]]] = []
        self.messages: list[object] = []
        self.threads: set[int] = set()
        names: dict[str, Any] = {
            "Flask": flask.Flask,
            "request": flask.request,
            "__name__": __name__,
            "headgate": headgate,
            "threading": threading,
            "work": self.work,
        }
        exec(VIEW.replace("http://127.0.0.1:4437", server.url), names)
        self.receiver: headgate.sync.WebhookReceiver = names["receiver"]
        self.app: flask.Flask = names["app"]
        self.app.before_request(self._note)

    def _note(self) -> None:
        self.requests.append((flask.request.get_data(), dict(flask.request.headers)))

    def work(self, job: headgate.sync.Job) -> None:
        """Work on a wake, as the example does."""
        with job:
            self.threads.add(threading.get_ident())
            for stream in job.pending:
                self.messages.extend(stream.messages())


@pytest.fixture(scope="module")
def hooks(server: Threaded) -> Iterator[Hooks]:
    """The application behind a subscription that has had its first order."""
    made = Hooks(server)
    served = make_server("127.0.0.1", 0, made.app, threaded=True)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    try:
        base = f"{server.streams}/__ds/subscriptions/orders"
        hook = {"url": f"http://127.0.0.1:{served.port}/hook"}
        send("PUT", base, {"type": "webhook", "pattern": "orders/*", "webhook": hook})
        send("PUT", f"{server.streams}/orders/anna", {"item": "tea"})
        wait_until(lambda: made.messages == [{"item": "tea"}])
        wait_until(lambda: send("GET", base)["streams"][0]["acked_offset"] != "-1")
        yield made
    finally:
        served.shutdown()
        thread.join()
        served.server_close()


def test_the_view_of_the_page_works_on_a_wake_in_a_thread_and_acknowledges_it(
    hooks: Hooks,
) -> None:
    assert hooks.messages == [{"item": "tea"}]
    assert threading.get_ident() not in hooks.threads


def test_the_view_of_the_page_refuses_a_request_that_is_not_signed(hooks: Hooks) -> None:
    answer = hooks.app.test_client().post("/hook", data=b"{}")
    assert (answer.status_code, answer.text) == (
        401,
        "the request has no field Webhook-Signature",
    )


def test_a_request_is_verified_without_an_event_loop(hooks: Hooks) -> None:
    body, headers = hooks.requests[0]
    hooks.receiver.verify(body, headers)
    with pytest.raises(NotAuthorized, match="the signature is wrong"):
        hooks.receiver.verify(body + b" ", headers)


def test_a_receiver_does_not_hold_up_an_event_loop(hooks: Hooks) -> None:
    async def verify() -> None:
        hooks.receiver.verify(*hooks.requests[0])

    with pytest.raises(RuntimeError, match="use `headgate` there"):
        asyncio.run(verify())


def test_a_receiver_without_a_subscription_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="a receiver has the id of a subscription"):
        headgate.sync.WebhookReceiver("http://127.0.0.1:4437/v1/stream")
