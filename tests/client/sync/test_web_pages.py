"""The applications of the pages for Django and Flask, and what both frameworks offer alike."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from headgate import RunState, sync
from werkzeug.serving import make_server

from tests.client.printed_urls import with_url
from tests.client.runs import model
from tests.client.sync.applications import MODEL, application, programs, web_server, write
from tests.client.sync.feeds import Feed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

ASYNC_MODEL = (
    MODEL.replace("import time", "import asyncio")
    .replace("def produce", "async def produce")
    .replace("time.sleep", "await asyncio.sleep")
)
TEMPLATES = Path(find_spec("django").origin).parent / "conf/project_template"  # type: ignore[union-attr,arg-type]
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:PORT", "--no-control-socket")
UVICORN = ("uvicorn", "--port", "PORT", "--timeout-graceful-shutdown", "1")


def django(folder: Path, url: str, served_by: str) -> None:
    """Make a project of what `django-admin` makes one of, and change it as the page says."""
    for template in TEMPLATES.rglob("*.py-tpl"):
        name = str(template.relative_to(TEMPLATES)).replace("project_name", "mysite")
        path = (folder / name).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        program = template.read_text().replace("{{ project_name }}", "mysite")
        path.write_text(program.replace("{{ secret_key }}", uuid.uuid4().hex))
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


def ends(status: str) -> str:
    return f'event: end\ndata: {{"status":"{status}","error":null}}\n\n'


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("made", [django_asgi, django_wsgi])
def test_the_documented_django_project_answers_resumes_stops_and_shuts_down(
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


def test_the_documented_flask_application_answers_resumes_and_stops(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, programs("flask.md") | {"model.py": MODEL}, url)
    with application(tmp_path, monkeypatch) as module:
        server = make_server("127.0.0.1", 0, module.app, threaded=True)  # as `flask run` has it
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.port}/runs") as page:
                answers(page)
                refuses(page)
                is_stopped(page)
        finally:
            server.shutdown()
            serving.join()
            server.server_close()


def test_the_documented_gunicorn_settings_of_flask_and_django_are_equal() -> None:
    flask = programs("flask.md")["gunicorn.conf.py"]
    django = programs("django.md", "WSGI")["gunicorn.conf.py"]
    assert flask.replace("from app import", "from mysite.views import") == django


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
    assert (ended.status_code, ended.text) == (409, "Closed")
    long = page.post(f"/{'x' * 1025}", params={"question": "Once"})
    assert (long.status_code, long.text) == (400, "ValueError")


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


async def test_the_documented_flask_chat_answers_and_stores_its_history(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (program,) = programs("flask.md", "A chat").values()
    names: dict[str, Any] = {"__name__": "chat"}
    said = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Once upon"}]}
    question = {"id": "c", "messages": [said], "trigger": "submit-message"}

    def use() -> None:
        page = names["app"].test_client()
        assert b'"delta":"upon "' in page.post("/api/chat", json=question).data
        history = page.get("/api/chat/c").json["messages"]
        assert [each["role"] for each in history] == ["user", "assistant"]
        assert page.get("/api/chat/c/stream").status_code == 204
        names["runs"].close(wait=0)

    async with model.served() as model_url:
        monkeypatch.setenv("OPENAI_BASE_URL", model_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        exec(with_url(program, url), names)
        await asyncio.to_thread(use)
        names["model"].close()


@pytest.mark.parametrize("framework", ["django", "flask"])
def test_django_and_flask_functions_have_the_parameters_of_those_for_starlette(
    framework: str,
) -> None:
    module = __import__(f"headgate.sync.{framework}", fromlist=["resume", "send"])
    starlette = __import__("headgate.web.starlette", fromlist=["resume"])
    for name in ("resume", "send", "chat_router"):
        parameters = inspect.signature(getattr(module, name)).parameters
        assert [*parameters] == [*inspect.signature(getattr(starlette, name)).parameters]
