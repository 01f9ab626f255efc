"""The stop of a run, which goes the way of the library's own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from headgate.errors import ProtocolError, StreamError
from headgate.runs import Runs
from headgate_admin.errors import ConsoleError, shown_status

if TYPE_CHECKING:
    import aiohttp


async def stop(url: str, authorization: str | None, session: aiohttp.ClientSession) -> bool:
    """Stop the run at this URL; return False if there is none, or it has ended."""
    base, _, name = url.rpartition("/")
    try:
        async with Runs(base, authorization=authorization, session=session) as runs:
            return await runs.stop(unquote(name))
    except ValueError as refusal:
        raise ConsoleError(400, f"this is not a run: {refusal}") from refusal
    except ProtocolError as refusal:  # the stream has something else
        raise ConsoleError(409, f"{refusal}") from refusal
    except StreamError as failure:
        if failure.status is None:
            raise ConsoleError(502, f"{failure}") from failure
        raise ConsoleError(shown_status(failure.status), failure.reason) from failure
