"""The stop of a run, which goes the way of the library's own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from headgate.errors import ProtocolError, RequestRefused, StreamError
from headgate.runs import Runs

from admin.errors import NotTold

if TYPE_CHECKING:
    import aiohttp


async def stop(url: str, authorization: str | None, session: aiohttp.ClientSession) -> bool:
    """Ask the producer of the run at this URL to stop, or end a run that waits for one.

    False if there is neither: then the run is ended as orphaned, as by whoever looks at it.
    """
    base, _, name = url.rpartition("/")
    try:
        async with Runs(base, authorization=authorization, session=session) as runs:
            return await runs.stop(unquote(name))
    except ValueError as refusal:
        raise NotTold(400, f"this is no run: {refusal}") from refusal
    except ProtocolError as refusal:  # the stream has something else
        raise NotTold(409, f"{refusal}") from refusal
    except StreamError as failure:
        status = failure.status if isinstance(failure, RequestRefused) else None
        if status is None:
            raise NotTold(502, f"{failure}") from failure
        reason = failure.reason if isinstance(failure, RequestRefused) else f"{failure}"
        # 401 would ask the console's own users who they are.
        raise NotTold(403 if status == 401 else status, reason) from failure
