"""What a list of streams tells first, as nobody has reported it so far."""

from __future__ import annotations

from tests.subscriptions.receivers import log_at, receiver, subscribed
from tests.web.serving import post, serving

DONE = {"done": True}


async def test_an_append_that_only_a_list_has_told_wakes_whoever_had_the_stream_before(
    redis_url: str,
) -> None:
    async with (
        subscribed(log_at(redis_url)) as owner,
        serving(log_at(redis_url)) as silent,  # as one that is killed before its report
        receiver(answer=DONE) as at,
    ):
        await owner.webhook("s", at, pattern="*")
        await owner.create("a", body=b'{"n":1}')
        await at.wake()
        await owner.quiet()
        await silent.ask(post("a", b'{"n":2}', content_type="application/json"))
        await owner.webhook("later", at, pattern="*")
        assert (await at.wake(2))["subscription_id"] == "s"
