"""A simulated model: it answers every question with the same story, one token at a time."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS_PER_TOKEN = float(os.environ.get("CHAT_SECONDS_PER_TOKEN", "0.07"))
STORY = """\
You asked: “{question}” I am only a simulated model, so I answer every question with the same \
story.

Once there was a keeper of a headgate, high in the mountains, where a canal leaves its river. Into \
her logbook she wrote whatever went through the gate: timber, boats, a hat, once a piano. She \
never crossed out a line, and she never tore out a page.

People down the canal wanted to know what was on its way to them. Some read over her shoulder \
while she wrote. Others fell asleep, or were called away in the middle of a sentence. When they \
came back they put a finger on the last word that they had read, and went on from there. Nobody \
had to ask her to begin again.

One night the keeper herself was called away, and her pen stopped in the middle of a line. The \
readers watched the lamp in her window. When it had gone out, they wrote beneath the line: “The \
keeper is gone. This entry ends here.” So nobody waited for the rest of it until morning, and the \
new keeper, who came with a lamp of his own, began a new entry.

The logbook is still there. Whoever comes to the gate, be it from Malmö, São Paulo or \
Αθήνα, reads the same words in the same order."""


def tokens(question: str) -> list[str]:
    """Return the pieces in which the answer comes; joined, they are its text."""
    return re.findall(r"\s*\S+", STORY.format(question=question))


async def answer(question: str) -> AsyncIterator[str]:
    """Yield the tokens of the answer, at the pace of a model."""
    for token in tokens(question):
        await asyncio.sleep(SECONDS_PER_TOKEN)
        yield token
