"""Runs a program of docs/examples; its model stops in each answer until a file is there.

Usage: held_app.py PROGRAM TOKENS FILE. It imports nothing of ours: each test would wait for that.
"""

from __future__ import annotations

import asyncio
import importlib
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOOK_AGAIN_S = 0.005
program, held_after, gate = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
sys.path.insert(0, str(program.parent))
model = importlib.import_module("model")
model_answer = model.answer


async def answer(question: str) -> AsyncIterator[str]:
    """The model's own answer."""
    count = 0
    async for token in model_answer(question):
        while count == held_after and not gate.exists():
            await asyncio.sleep(LOOK_AGAIN_S)
        yield token
        count += 1


vars(model)["answer"] = answer
runpy.run_path(str(program), run_name="__main__")
