"""A page with a form is added by one module and its template: the site finds both in a folder."""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from admin.app import build
from admin.pages import views
from admin.pages.console_page import ConsolePage
from gateway.process.admin_listener import AdminBounds, AdminListener
from gateway.settings import Address
from tests.admin.consoles import Switchboard, setup
from tests.support.ports import free_port
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOY = ROOT / "tests" / "admin" / "toy_pages"
CSRF = re.compile(r'name="csrf" value="([^"]*)"')


TOKENS = [{"name": "wall", "role": "viewer", "token": "v" * 32}]


@pytest.fixture
def admin_tokens() -> list[dict[str, str]]:
    """Nobody has to sign in, unless a test says otherwise."""
    return []


@pytest.fixture
async def console(
    monkeypatch: pytest.MonkeyPatch, admin_tokens: list[dict[str, str]]
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an admin listener whose pages are the console's own and the toy's."""
    monkeypatch.setattr(views, "__path__", [*views.__path__, str(TOY)])
    made = setup(admin_tokens=admin_tokens)
    assert isinstance(made.bounds, AdminBounds)
    listener = AdminListener(build(Switchboard(), made), made.bounds, 75.0)
    address = Address("127.0.0.1", free_port())
    await listener.open(address)
    async with aiohttp.ClientSession(f"http://{address}") as session:
        yield session
    await listener.close()
    sys.modules.pop(f"{views.__name__}.guest_book", None)


async def page(console: aiohttp.ClientSession, path: str = "/guest-book") -> str:
    async with console.get(path, headers={"Accept": "text/html"}) as answer:
        assert answer.status == 200
        return await answer.text()


async def post(console: aiohttp.ClientSession, **form: str) -> tuple[int, str, str]:
    """Send the form; return the status, the Location and the body of the answer."""
    async with console.post("/guest-book", data=form, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", ""), await answer.text()


async def test_an_added_page_is_shown_and_its_form_is_carried_out(
    console: aiohttp.ClientSession,
) -> None:
    (csrf,) = CSRF.findall(await page(console))
    assert await post(console, name="Ada", csrf=csrf) == (
        303,
        "/guest-book?signed=Ada",
        "303: See Other",
    )
    assert "Signed by Ada." in await page(console, "/guest-book?signed=Ada")


async def test_a_refused_form_of_an_added_page_is_shown_again_with_what_was_entered(
    console: aiohttp.ClientSession,
) -> None:
    (csrf,) = CSRF.findall(await page(console))
    status, _, shown = await post(console, name="a" * 21, csrf=csrf)
    assert status == 400
    assert "A name has at most 20 letters." in shown
    assert f'value="{"a" * 21}"' in shown


@pytest.mark.parametrize("admin_tokens", [pytest.param(TOKENS, id="a-viewer")])
async def test_a_viewer_may_look_at_an_added_page_and_not_send_its_form(
    console: aiohttp.ClientSession,
) -> None:
    console.headers["Authorization"] = f"Bearer {TOKENS[0]['token']}"
    assert "Signed by" in await page(console)
    status, _, told = await post(console, name="Ada")
    assert (status, "wall may look, but not change anything" in told) == (403, True)


def test_each_page_is_declared_by_its_module_under_a_path_of_its_own() -> None:
    """mypy checks what a `ConsolePage` is made of; this, that each module has one."""
    found = [*views.pages()]
    assert all(isinstance(page, ConsolePage) for page in found)
    paths = [page.path for page in found]
    assert sorted(set(paths)) == sorted(paths)
    modules = [inspect.getmodule(page.show) for page in found]
    assert paths == [module.PATH for module in modules if module is not None]
