"""A receiver of webhooks in Flask: it works on each wake in a thread of its own."""

from __future__ import annotations

import os
import threading
from typing import Any

import headgate
import headgate.sync
from flask import Flask, request
from werkzeug.serving import run_simple

STREAMS = os.environ.get("WEBHOOK_STREAMS", "http://127.0.0.1:4437/v1/stream")
PORT = int(os.environ.get("WEBHOOK_PORT", "9000"))
MOST_BYTES = 2 << 20  # a wake with many streams has a megabyte

receiver = headgate.sync.WebhookReceiver(STREAMS, "orders")
app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES


def confirm(customer: str, order: dict[str, Any]) -> None:
    """Do the work: here, a line is printed."""
    print(f"{customer}: your order of {order['item']} has arrived", flush=True)


def work(job: headgate.sync.Job) -> None:
    """Work on a wake; the end of the block acknowledges what was read."""
    with job:
        for stream in job.pending:
            for order in stream.messages():
                confirm(stream.name, order)


@app.post("/hook")
def hook() -> tuple[str, int]:
    """Answer a webhook at once, and go on working behind the answer."""
    try:
        job = receiver.job(request.get_data(), dict(request.headers))
    except headgate.NotAuthorized as rejection:
        print(f"answered 401: {rejection}", flush=True)
        return f"{rejection}", 401
    except headgate.StreamError as failure:  # no keys: Headgate sends the wake again
        print(f"answered 503: {failure}", flush=True)
        return "", 503
    if job is not None:
        threading.Thread(target=work, args=(job,)).start()
    return "", 200


if __name__ == "__main__":
    run_simple("127.0.0.1", PORT, app, threaded=True)
