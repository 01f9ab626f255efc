"""The applications of the pages for Django and Flask, and what both frameworks offer alike."""

from __future__ import annotations

import inspect
import re
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django as django_package
import httpx
import pytest

from headgate import RunState, sync
from tests.client.printed_urls import with_url
from tests.client.sync.applications import of_python, programs, web_server, write
from tests.client.sync.feeds import Feed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

TEMPLATES = Path(django_package.__file__).parent / "conf/project_template"
GUNICORN = (*of_python("gunicorn"), "--bind", "127.0.0.1:PORT", "--no-control-socket")
UVICORN = (*of_python("uvicorn"), "--port", "PORT", "--timeout-graceful-shutdown", "1")


def django(folder: Path, url: str, *servings: str) -> None:
    """Make a project of what `django-admin` makes one of, and change it as the page says."""
    for template in TEMPLATES.rglob("*.py-tpl"):
        name = str(template.relative_to(TEMPLATES)).replace("project_name", "mysite")
        path = (folder / name).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        program = template.read_text().replace("{{ project_name }}", "mysite")
        path.write_text(program.replace("{{ secret_key }}", uuid.uuid4().hex))
    files = [programs("django.md", serving) for serving in servings]
    write(folder, {name: text for made in files for name, text in made.items()}, url)


def django_asgi(folder: Path, url: str) -> tuple[str, ...]:
    django(folder, url, "ASGI")
    return (*UVICORN, "mysite.asgi:application")


def django_wsgi(folder: Path, url: str) -> tuple[str, ...]:
    django(folder, url, "ASGI", "WSGI")
    return (*GUNICORN, "mysite.wsgi")


def flask(folder: Path, url: str) -> tuple[str, ...]:
    write(folder, programs("flask.md"), url)
    return (*GUNICORN, "app:app")


def words(told: str) -> str:
    """Return what was told with the words of the model's events alone."""
    return re.sub(r'data: .*"content":("\w+ ").*', r"data: \1", told)


def ends(status: str) -> str:
    return f'event: end\ndata: {{"status":"{status}","error":null}}\n\n'


@pytest.mark.usefixtures("processes", "questions")
@pytest.mark.parametrize("made", [django_asgi, django_wsgi, flask])
def test_a_documented_application_answers_resumes_stops_and_shuts_down(
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
    assert (asked.status_code, words(asked.text)) == (200, first + rest)
    assert asked.headers["Content-Type"] == "text/event-stream"
    assert asked.headers["Cache-Control"] == "no-cache, no-transform"
    assert words(page.get("/1").text) == first + rest
    assert words(page.get("/1", params={"after": 1}).text) == rest
    assert words(page.get("/1", headers={"Last-Event-ID": "1"}).text) == rest
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
            if words(line) == 'data: "forever "':
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


@pytest.mark.usefixtures("questions")
def test_the_documented_flask_chat_answers_and_stores_its_history(url: str) -> None:
    (program,) = programs("flask.md", "A chat").values()
    names: dict[str, Any] = {"__name__": "chat"}
    said = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Once upon"}]}
    question = {"id": "c", "messages": [said], "trigger": "submit-message"}
    exec(with_url(program, url), names)
    page = names["app"].test_client()
    assert b'"delta":"upon "' in page.post("/api/chat", json=question).data
    history = page.get("/api/chat/c").json["messages"]
    assert [each["role"] for each in history] == ["user", "assistant"]
    assert page.get("/api/chat/c/stream").status_code == 204
    names["runs"].close(wait=0)
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
