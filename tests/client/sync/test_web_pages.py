"""The applications of the pages for Django and Flask, served as the pages say."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from headgate import RunState, sync

from tests.client.sync.applications import BIN, MODEL, programs, web_server, write
from tests.client.sync.feeds import Feed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASYNC_MODEL = (
    MODEL.replace("import time", "import asyncio")
    .replace("def produce", "async def produce")
    .replace("time.sleep", "await asyncio.sleep")
)
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:PORT", "--no-control-socket")
UVICORN = ("uvicorn", "--port", "PORT", "--timeout-graceful-shutdown", "1")


def django(folder: Path, url: str, served_by: str) -> None:
    """Make a project as Django does, and change it as its page says."""
    command = [sys.executable, str(BIN / "django-admin"), "startproject", "mysite", str(folder)]
    subprocess.run(command, check=True)
    files = programs("django.md", "ASGI")
    if served_by == "WSGI":
        files |= programs("django.md", "WSGI") | {"mysite/model.py": MODEL}
    else:
        files |= {"mysite/model.py": ASYNC_MODEL}
    write(folder, files, url)


def django_asgi(folder: Path, url: str) -> tuple[str, ...]:
    django(folder, url, "ASGI")
    return (*UVICORN, "mysite.asgi:application")


def django_wsgi(folder: Path, url: str) -> tuple[str, ...]:
    django(folder, url, "WSGI")
    return (*GUNICORN, "mysite.wsgi")


def flask(folder: Path, url: str) -> tuple[str, ...]:
    write(folder, programs("flask.md") | {"model.py": MODEL}, url)
    return (*GUNICORN, "--preload", "app:app")


def ends(status: str) -> str:
    return f'event: end\ndata: {{"status":"{status}","error":null}}\n\n'


@pytest.mark.parametrize("made", [django_asgi, django_wsgi, flask])
def test_an_application_answers_resumes_stops_and_leaves_with_its_server(
    tmp_path: Path, url: str, made: Callable[[Path, str], tuple[str, ...]]
) -> None:
    with web_server(tmp_path, *made(tmp_path, url)) as (server, base), sync.Runs(url) as runs:
        with httpx.Client(base_url=f"{base}/runs", timeout=20) as page:
            answers(page)
            refuses(page)
            is_stopped(page)
        log = (tmp_path / "log").read_text()
        assert "Traceback" not in log, log
        leaves(server, base, runs)


def answers(page: httpx.Client) -> None:
    first = 'id: 1\ndata: "Once "\n\n'
    rest = f'id: 2\ndata: "upon "\n\nid: 3\n{ends("finished")}'
    asked = page.post("/1", params={"question": "Once upon"})
    assert (asked.status_code, asked.text) == (200, first + rest)
    assert asked.headers["Content-Type"] == "text/event-stream"
    assert asked.headers["Cache-Control"] == "no-cache, no-transform"
    assert page.get("/1").text == first + rest
    assert page.get("/1", params={"after": 1}).text == rest
    assert page.get("/1", headers={"Last-Event-ID": "1"}).text == rest
    assert page.get("/1", headers={"Last-Event-ID": "3"}).status_code == 204
    assert page.get("/2").status_code == 204


def refuses(page: httpx.Client) -> None:
    wrong = page.get("/1", params={"after": "x"})
    assert (wrong.status_code, wrong.text[:6]) == (400, "after,")
    assert wrong.headers["Content-Type"] == "text/plain; charset=utf-8"
    ended = page.post("/1", params={"question": "Once"})
    assert (ended.status_code, ended.text) == (409, "StreamClosed\n")
    long = page.post(f"/{'x' * 1025}", params={"question": "Once"})
    assert (long.status_code, long.text) == (400, "ValueError\n")


def is_stopped(page: httpx.Client) -> None:
    with page.stream("POST", "/3", params={"question": "forever"}) as answer:
        for line in answer.iter_lines():
            if line == 'data: "forever "':
                assert page.delete("/3").json() == {"stopped": True}
    assert page.get("/3").text.endswith(ends("stopped"))
    assert page.delete("/3").json() == {"stopped": False}


def leaves(server: subprocess.Popen[bytes], base: str, runs: sync.Runs) -> None:
    """End the server while it produces a run, and while a run of another process is read."""
    elsewhere = Feed("Once ")
    runs.start("elsewhere", elsewhere.source())
    with (
        httpx.Client(base_url=f"{base}/runs", timeout=20) as page,
        page.stream("GET", "/elsewhere") as other,
        page.stream("POST", "/4", params={"question": "Once upon a time " * 3}),
    ):
        read = other.iter_raw()
        assert next(read) == b"Once "
        server.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.RemoteProtocolError):  # it is no whole answer
            next(read)
    assert server.wait(10) in {0, -signal.SIGTERM}  # uvicorn ends by the signal that it was sent
    assert runs.state("4") == RunState("finished")
    assert runs.state("elsewhere") == RunState("active")
    elsewhere.end()
