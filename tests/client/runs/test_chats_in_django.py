"""The program of the page of chats for Django."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
from django.utils.decorators import async_only_middleware

from tests.client.printed_urls import with_url
from tests.client.runs import model
from tests.client.runs.django_serving import django_of
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from tests.support.threaded import Threaded

CSRF = "django.middleware.csrf.CsrfViewMiddleware"
SIGNED_IN = f"{__name__}.signed_in"


@async_only_middleware
def signed_in(
    respond: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    """Know whoever says a name, as the middleware of sessions would."""

    async def known(request: HttpRequest) -> HttpResponseBase:
        async def auser() -> Any:
            return SimpleNamespace(is_authenticated="Name" in request.headers)

        request.auser = auser
        return await respond(request)

    return known


async def test_the_documented_django_program_answers_users_who_send_djangos_token(
    url: str, server: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = (ROOT / "docs/client/chats.md").read_text().split("\n## In Django\n")[1]
    (program,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    names: dict[str, Any] = {}
    token = "a" * 32
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Once upon"}]}
    question = {"id": "c", "messages": [message], "trigger": "submit-message"}
    async with model.served() as model_url:
        monkeypatch.setenv("OPENAI_BASE_URL", model_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        exec(with_url(program, url), names)
        async with (
            django_of(names["urlpatterns"], SIGNED_IN, CSRF) as app,
            httpx.AsyncClient(base_url=app, cookies={"csrftoken": token}) as page,
        ):
            assert (await page.post("/api/chat", json=question)).status_code == 403
            page.headers["X-CSRFToken"] = token
            told = await page.post("/api/chat", json=question)
            assert (told.status_code, told.text) == (403, "you may not use this chat")
            page.headers["Name"] = "ann"
            answer = await page.post("/api/chat", json=question)
            assert '"delta":"upon "' in answer.text
        await names["runs"].aclose(wait=0)
        await names["model"].close()
