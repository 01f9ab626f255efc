"""Forms that choose what a page shows: each has an address that can be shared and bookmarked."""

from __future__ import annotations

import html
import re
from urllib.parse import urlencode

from tests.admin.browser.every_page import PAGES
from tests.admin.in_process import RunningConsole, running

FORM = re.compile("<form([^>]*)>(.*?)</form>", re.DOTALL)
CHOSEN = {"route": "/v1/stream", "name": "chat/0000", "text": "<some>"}
FIELD = re.compile(r'<(?:input|select|textarea)[^>]* name="([^"]+)"[^>]*>')


async def page(console: RunningConsole, path: str) -> tuple[int, str]:
    async with console.open(path, Accept="text/html") as answer:
        return answer.status, await answer.text()


async def test_every_form_is_a_change_with_a_token_or_a_filter_by_get_without_one() -> None:
    filters = set()
    async with running() as console:
        await console.create("chat/0000", "application/json", b"[1]")
        for path in PAGES:
            status, shown = await page(console, path)
            for attributes, fields in FORM.findall(shown if status == 200 else ""):
                names = FIELD.findall(fields)
                if 'method="post"' in attributes:
                    assert "csrf" in names, (path, attributes)
                    assert 'role="search"' not in attributes
                elif 'method="dialog"' not in attributes:
                    assert "csrf" not in names, (path, attributes)
                    action = html.unescape(re.findall('action="([^"]+)"', attributes)[0])
                    filters.add((action, *names))
        assert {action for action, *_ in filters} >= {
            *("/clients", "/events", "/streams", "/streams/one", "/caches/cdn")
        }
        for action, *names in filters:
            query = urlencode({name: CHOSEN[name] for name in names if name in CHOSEN})
            status, shown = await page(console, f"{action}?{query}")
            assert status == 200, (action, query)
            assert ("text" in names) is ('value="&lt;some&gt;"' in shown), (action, query)
