"""A page with a form is added by one module and its template: the site finds both in a folder."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

import pytest

from admin.pages import views
from admin.pages.console_page import ConsolePage
from tests.admin.consoles import VIEWER, Client, console
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOY = ROOT / "tests" / "admin" / "toy_pages"
PATH = "/guest-book"


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client of a console whose pages are its own and the toy's."""
    monkeypatch.setattr(views, "__path__", [*views.__path__, str(TOY)])
    async with console() as opened:
        yield opened
    sys.modules.pop(f"{views.__name__}.guest_book", None)


async def test_an_added_page_is_shown_and_its_form_is_carried_out_or_shown_again(
    client: Client,
) -> None:
    status, shown = await client.send("GET", PATH)
    assert (status, 'name="csrf"' in shown) == (200, True)
    assert (await client.send("POST", PATH, data={"name": "Ada"}))[0] == 303
    assert "Signed by Ada." in (await client.send("GET", f"{PATH}?signed=Ada"))[1]
    status, shown = await client.send("POST", PATH, data={"name": "a" * 21})
    assert (status, "A name has at most 20 letters." in shown) == (400, True)
    assert f'value="{"a" * 21}"' in shown


async def test_a_viewer_may_look_at_an_added_page_and_not_send_its_form(client: Client) -> None:
    assert "Signed by" in (await client.send("GET", PATH, VIEWER))[1]
    status, reason = await client.send("POST", PATH, VIEWER, data={"name": "Ada"})
    assert (status, "wall may look, but not change anything" in reason) == (403, True)


def test_each_page_is_declared_by_its_module_under_a_path_of_its_own() -> None:
    """mypy checks what a `ConsolePage` is made of; this, that each module has one."""
    found = [*views.pages()]
    assert all(isinstance(page, ConsolePage) for page in found)
    paths = [page.path for page in found]
    assert sorted(set(paths)) == sorted(paths)
    modules = [inspect.getmodule(page.show) for page in found]
    assert paths == [module.PATH for module in modules if module is not None]
