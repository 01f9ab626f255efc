"""Random answers of providers, read directly and through a route by the SDKs: they are the same.

The differences that a route mends are listed; anything else fails.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.models.random_answers import RandomAnswer, RandomProvider, random_answer
from tests.models.read_answers import SDKS, Call, Found, Readers, reading
from tests.models.serving import ANTHROPIC, OPENAI, gateway_before
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWERS = 300 if IS_WHOLE else 24
AT_ONCE = 8
SEED = 1
READ_TIMEOUT_S = 5.0  # a machine that does other work, too, may be silent for a second

# What a route mends, each with the answers and the results that it explains. The texts are those
# that were read directly and through the route.
MENDED: dict[str, Callable[[RandomAnswer, str, Found, Found], bool]] = {
    "an answer without its end is an error": lambda answer, _, direct, routed: (
        not answer.has_end and direct.error is None and routed == (direct.text, routed.error)
    ),
    "the last event needs no blank line": lambda answer, _, direct, routed: (
        answer.end in ("unended", "closed")
        and direct.error is None
        and routed.error is not None
        and routed.text.startswith(direct.text)
    ),
    "what came before a cut is there": lambda answer, _, direct, routed: (
        answer.end in ("cut", "silent", "late cut")
        and direct.error is not None
        and routed.text.startswith(direct.text)
    ),
    "a block without data is no event": lambda answer, _, direct, routed: (
        answer.noise in ("something", "all")
        and direct.error is not None
        and routed.text.startswith(direct.text)
    ),
}


def explained(answer: RandomAnswer, sdk: str, direct: Found, routed: Found) -> str | None:
    """Return what explains two results: "same", the name of a mended difference, or None."""
    if direct.text == routed.text and (direct.error is None) == (routed.error is None):
        return "same"
    found = (name for name, is_it in MENDED.items() if is_it(answer, sdk, direct, routed))
    return next(found, None)


async def _compare(
    number: int, readers: Readers, bases: tuple[str, str], turns: asyncio.Semaphore
) -> list[str]:
    """Return the differences of an answer that nothing explains."""
    answer = random_answer(number, SEED)
    provider, gateway = bases
    prefix = ANTHROPIC if answer.kind == "message" else OPENAI
    faults = []
    async with turns:
        for sdk in SDKS:
            call = Call(answer.kind, gateway + prefix, str(number), f"{sdk}-{number}")
            direct, routed = await asyncio.gather(
                readers.read(sdk, call._replace(base=provider)), readers.read(sdk, call)
            )
            joined = await readers.read(sdk, call)
            faults += [
                f"{number} {sdk} {answer.kind} {answer.end} {answer.noise}: "
                f"direct {direct}, through the route {found}"
                for found in (routed, joined)
                if explained(answer, sdk, direct, found) is None
            ]
    return faults


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(1200 if IS_WHOLE else 180)
async def test_random_answers_are_the_same_through_a_route_for_every_sdk() -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    async with RandomProvider(SEED).serving() as provider, reading() as readers:
        with gateway_before(provider, settings={"read_timeout": READ_TIMEOUT_S}) as gateway:
            bases = provider.url, gateway.url
            compared = [_compare(it, readers, bases, turns) for it in range(ANSWERS)]
            faults = [fault for found in await asyncio.gather(*compared) for fault in found]
            assert "Traceback" not in gateway.output()
    assert faults == []
