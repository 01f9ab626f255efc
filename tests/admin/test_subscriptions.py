"""The API and the page of subscriptions, for operators and for viewers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from headgate_gateway.features.questions.contract import AnswerFailure, FeatureQuestion
from tests.admin.consoles import OPERATOR, VIEWER, Client, Switchboard
from tests.admin.consoles import console as console_of
from tests.subscriptions.receivers import receiver, subscribed
from tests.support.log_lines import capture_logs
from tests.support.serving import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from headgate_gateway.features.questions.contract import Answer, Question
    from tests.subscriptions.receivers import Subscribed

SECRET = "/hook?token=a-password"


class Source(Switchboard):
    """A source that asks the subscriptions of a gateway."""

    gateway: Subscribed

    async def query(self, question: Question) -> Sequence[Answer]:
        if isinstance(question, FeatureQuestion):
            return (await self.gateway.gateway.inspector.answer(question),)
        return (AnswerFailure(501, "that is not told here"),)


def console(
    gateway: Subscribed, kind: type[Source] = Source
) -> AbstractAsyncContextManager[Client]:
    """A client of a console with a user of each role."""
    source = kind()
    source.gateway = gateway
    return console_of(source)


async def test_viewers_see_subscriptions_without_the_paths_of_webhooks_and_buttons() -> None:
    async with subscribed() as gateway, receiver() as at, console(gateway) as client:
        at.url = at.url.replace("/hook", SECRET)
        await gateway.webhook("s", at, pattern="*")
        for path in (
            "/api/v1/subscriptions",
            "/api/v1/subscriptions?text=a-password",
            f"/api/v1/subscription?route={PREFIX}&id=s",
            "/subscriptions",
            f"/subscriptions?route={PREFIX}&id=s",
        ):
            for token, has_secret in ((VIEWER, False), (OPERATOR, True)):
                status, text = await client.send("GET", path, token)
                assert status == 200, text
                assert ("a-password" in text) is has_secret or "text=" in path
                if token == VIEWER:
                    assert not re.search(r'value="(pause|replay|delete)"', text)


async def test_changes_are_in_the_audit_log_without_the_url_of_the_webhook() -> None:
    async with subscribed() as gateway, receiver() as at, console(gateway) as client:
        body = {"route": PREFIX, "id": "s"}
        webhook = {"url": at.url.replace("/hook", SECRET)}
        await gateway.put("s", type="webhook", pattern="*", webhook=webhook)
        place = f"/api/v1/subscription?route={PREFIX}&id=s"
        with capture_logs() as lines:
            for it in ("pause", "resume", "replay"):
                assert (await client.api("POST", f"subscription/{it}", body))[0] == 200
            refused = {**body, "streams": ["nobody"]}
            assert (await client.api("POST", "subscription/replay", refused))[0] == 409
            assert (await client.send("DELETE", place))[0] == 204
        audit = [it for it in lines if str(it["event"]).startswith("admin.change")]
        assert [(it["event"], it["operation"], it["stream"], it["by"]) for it in audit] == [
            ("admin.changed", "pause the subscription", "s", "shop"),
            ("admin.changed", "resume the subscription", "s", "shop"),
            ("admin.changed", "replay the subscription", "s", "shop"),
            ("admin.change_failed", "replay the subscription", "s", "shop"),
            ("admin.changed", "delete the subscription", "s", "shop"),
        ]
        assert "a-password" not in str(audit)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/subscriptions?order=name", None),
        ("GET", "/api/v1/subscriptions?limit=501", None),
        ("GET", "/api/v1/subscriptions?after=x", None),
        ("GET", "/api/v1/subscriptions?text=" + "x" * 1025, None),
        ("GET", "/subscriptions?status=unknown", None),
        ("POST", "/api/v1/subscription/replay", {"route": PREFIX, "id": "s", "to": "x"}),
        ("POST", "/api/v1/subscription/replay", {"route": PREFIX, "id": "s", "offset": "x" * 257}),
    ],
    ids=["order", "limit", "after", "text", "status", "member", "offset"],
)
async def test_malformed_requests_get_400_with_a_reason(
    method: str, path: str, body: object
) -> None:
    async with subscribed() as gateway, receiver() as at, console(gateway) as client:
        await gateway.webhook("s", at, pattern="*")
        status, text = await client.send(method, path, json=body)
        assert status == 400
        assert "detail" in text or "<h1" in text


async def test_pages_of_several_processes_are_one_list_with_each_subscription_once() -> None:
    async with subscribed() as gateway, receiver() as at:
        for number in range(7):
            await gateway.webhook(f"s{number}", at, pattern="*")

        class Twice(Source):
            async def query(self, question: Question) -> Sequence[Answer]:
                return (*await super().query(question), *await super().query(question))

        async with console(gateway, Twice) as client:
            seen: list[str] = []
            after: str | None = ""
            while after is not None:
                path = f"subscriptions?{urlencode({'limit': 3, 'after': after})}"
                _, page = await client.api("GET", path)
                assert (page["total"], page["states"]["active"]) == (7, 7)
                seen += [row["id"] for row in page["rows"]]
                after = page["after"]
        assert seen == [f"s{number}" for number in range(7)]
