"""The Chat of @ai-sdk/react, unmodified, with the transport of the npm package."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.client.answer_cutter import AnswerCutter
from tests.support.unmodified_clients import run_script

if TYPE_CHECKING:
    from tests.client.js.site import Site

# Bytes after which answers are cut, in each of the first scenes.
CUTS = [[1500, 2000], [3000], [2000]]
ENDED = {"isAbort": False, "isError": False, "isDisconnect": False}
ABORTED = {**ENDED, "isAbort": True}
UPON = "upon " * 400
LATER = "a " * 1500
EARLIER = "Once " * 600


def shown(text: str, *asked: str, run: str, **told: bool) -> dict[str, Any]:
    """What a page shows that is ready again."""
    finished = [{**ENDED, **told}]
    about = {"messages": 2, "status": "ready", "finished": finished, "run": run}
    return {"text": text, "asked": [*asked], **about}


# With each scene of run_chat.mjs what comes of it.
SCENES: dict[str, Any] = {
    "cut in the middle": shown(
        f"Once {UPON}a time",
        *("POST ", "GET /RUN/stream?startIndex=4", "GET /RUN/stream?startIndex=4"),
        run="finished",
    ),
    "resumed and cut, behind what the message held before": shown(
        f"Once upon {LATER}time",
        *("GET /CHAT/stream", "GET /RUN/stream?startIndex=4"),
        run="finished",
    ),
    # What is not the run's own has no index: all is sent once more.
    "resumed and cut, in what the message held before": shown(
        f"{EARLIER}upon a time", *["GET /CHAT/stream"] * 2, run="finished"
    ),
    "stopped by the second attempt": shown(
        "Once ", "POST ", *["POST /CHAT/stop"] * 2, run="stopped", isAbort=True
    ),
    "stopped before the answer begins": {
        **shown("Tell.", "POST ", *["POST /CHAT/stop"] * 2, run="stopped", isAbort=True),
        "messages": 1,
    },
    "stopped while words come": {
        **shown("Once upon a ", "POST ", "POST /CHAT/stop", run="stopped", isAbort=True),
        "stored": "Once upon a ",
    },
    "resumed, and stopped while words come": {
        **shown("Once upon a ", "GET /CHAT/stream", "POST /CHAT/stop", run="stopped", isAbort=True),
        "stored": "Once upon a ",
    },
    # What does not end is left after five seconds.
    "stopped in vain": {
        **shown("Once ", "POST ", "POST /CHAT/stop", run="active", isAbort=True),
        "took": "5 s",
    },
    "stopped, and asked again at once": {
        **shown("Twice", "POST ", "POST /CHAT/stop", "POST ", run="finished"),
        "messages": 4,
        "finished": [{**ENDED, "isAbort": True}, ENDED],
    },
    "stopped by another page": shown("Once upon ", "POST ", run="stopped", isAbort=True),
    "left, which version 7 tells by a stop": shown("Once ", "POST ", run="finished", isAbort=True),
    "resumed twice, where the second gives up the first": shown(
        "Once upon ", *["GET /CHAT/stream"] * 2, run="finished"
    ),
    "cut for good": {
        "status": "error",
        "finished": [{**ENDED, "isError": True, "isDisconnect": True}],
        "asked": 2,
    },
    "cut, and deleted meanwhile": (
        "the rest of the answer is not to be had: its run was deleted or has expired"
    ),
    "nothing to resume": {**shown("Once ", "GET /CHAT/stream", run="finished"), "finished": []},
    "an event that is too long, and one at the bound": [
        2**24 - len('data: ""'),
        "the answer has an event of more than 16777216 characters",
    ],
    "refused": {"status": "error", "error": "who are you?", "asked": ["POST "]},
}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("version", [3, 4])
async def test_use_chat_reads_on_after_cut_connections_and_its_stop_stops_the_run(
    site: Site, version: int
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        cutters = [await stack.enter_async_context(AnswerCutter(site.port, cuts)) for cuts in CUTS]
        ports = [site.port, *(cutter.port for cutter in cutters)]
        sites = (f"http://127.0.0.1:{port}" for port in ports)
        report, _ = await run_script("run_chat.mjs", str(version), *sites)
    for name, scene in report.items():
        assert scene == SCENES[name], name
    assert report.keys() == SCENES.keys()
    assert [cutter.cuts for cutter in cutters] == [*map(len, CUTS)]
