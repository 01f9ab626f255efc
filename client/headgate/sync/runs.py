"""Runs for threads: started here or elsewhere, followed and stopped by their ids.

Made by `python -m scripts.sync_twins` from `headgate.runs.runs`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import headgate.runs.runs
from headgate.endpoint import (
    IDLE_TIMEOUT_S,
)
from headgate.misuse import (
    checks_keywords,
)
from headgate.records import ORPHAN_AFTER_S
from headgate.runs.runs import DAY_S
from headgate.runs.stored.production import class_name
from headgate.sync.twins import RunSource, ThreadRuns, answer_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from headgate.endpoint import Authorization
    from headgate.records import RunState
    from headgate.runs.cursors import Cursor
    from headgate.runs.formats import FormatName
    from headgate.runs.stored.progress import Written
    from headgate.sync.answer import Answer


class Runs(ThreadRuns):
    """The runs below one URL of a Durable Streams server. Times are in seconds.

    Args:
        url: The URL below which the streams of the runs are.
        authorization: The value of the `Authorization` field, or a function that returns it.
        headers: Other header fields of all requests.
        timeout: Seconds that a response may take to begin, and each of its parts; 60 by default.
            Live reads have another one.
        orphan_after: Seconds of silence after which a producer counts as gone; 10 by default.
        ttl: Seconds after its last use until a run is deleted, but not while it is produced; a
            day by default, None for never.
        stop_grace: Seconds for which a source that watches `stopped` may go on after a stop.
        retry_for: Seconds for which a server that is away is retried.
        error_text: Makes of a source's exception the text that readers get.
        takeover_within: Seconds for which a run whose producer is gone waits for `take_over`
            before it ends as orphaned; 0 for none.

    Once closed, it can be entered again, also in another event loop. With threads, make one for all
    of them, where the program begins: it is closed when the interpreter exits, unless it was
    before. There a source is iterated in a thread of its own, and a stop closes it once it has
    returned its next item: nothing can interrupt it while it waits for something itself.

    Raises:
        TypeError: A time is not a number.
        ValueError: A time is out of its range, or the URL or credential is invalid.
    """

    @checks_keywords
    def __init__(
        self,
        url: str,
        *,
        authorization: Authorization | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = IDLE_TIMEOUT_S,
        orphan_after: int = ORPHAN_AFTER_S,
        ttl: int | None = DAY_S,
        stop_grace: float = 2.0,
        retry_for: float = 30.0,
        error_text: Callable[[Exception], str] = class_name,
        takeover_within: int = 0,
    ) -> None:
        super().__init__(
            partial(
                headgate.runs.runs.Runs,
                url,
                authorization=authorization,
                headers=headers,
                timeout=timeout,
                orphan_after=orphan_after,
                ttl=ttl,
                stop_grace=stop_grace,
                retry_for=retry_for,
                error_text=error_text,
                takeover_within=takeover_within,
            )
        )

    def start(
        self,
        run_id: str,
        source: RunSource,
        *,
        format: FormatName = "text",
        message_id: str | None = None,
    ) -> Answer:
        """Produce a run from the source in the background, and answer with what it gives.

        An older producer of the same id is stopped, and this one writes on. After an error, and
        when the call is interrupted, the source has been closed, and there is no run of this id,
        unless there was one before.

        Args:
            run_id: The id of the run.
            source: An iterator of text, of JSON values or of an SDK's events, or a context manager
                that gives one: async ones, unless for threads. With asyncio also a run of OpenAI
                Agents.
            format: How items are stored and sent to readers: `text`, `sse` or `ai-sdk`.
            message_id: For `ai-sdk`, the id of the message that the run goes on with, as after a
                tool has answered on the page. Without it the message has the id of its run.

        Returns:
            The answer: status, header fields and a body that streams the run.

        Raises:
            Closed: The run of this id has ended.
            Unavailable: The server is away.
            TypeError: The source gives no such iterator.
        """
        return self._start(run_id, source, format=format, message_id=message_id)

    def take_over(
        self,
        run_id: str,
        make_source: Callable[[Written], RunSource],
        *,
        format: FormatName = "text",
        message_id: str | None = None,
        only_orphaned: bool = True,
        closes: bool = True,
    ) -> RunState | None:
        """Go on with a run that another process has left, or start it, and wait for the end of it.

        Args:
            run_id: The id that the run was, or will be, started with.
            make_source: Is called with what is written, and returns a source of what is not.
            format: As of `start`; the same that the run was started with.
            message_id: As of `start`, for a run that is not there yet.
            only_orphaned: Whether a run that another producer has is left to it. Otherwise that
                one is stopped, as by `start`.
            closes: Whether the run ends with the source. Otherwise it waits for `takeover_within`
                seconds to be taken over again, also where the source fails; a stop does end it.

        Returns:
            What came of the source: `finished`, `failed` with the error, `stopped`, or `active`
            where another producer has taken over meanwhile. None where one had the run before.

        Raises:
            Closed: The run has ended.
            Unavailable: The server is away.
            ValueError: The run is there in another format, or `closes` is false although these
                `Runs` have no `takeover_within`.
        """
        return self._take_over(
            run_id,
            make_source,
            format=format,
            message_id=message_id,
            only_orphaned=only_orphaned,
            closes=closes,
        )

    def follow(
        self,
        run_id: str,
        after: int | Cursor | None = None,
        *,
        only_active: bool = False,
        wait: float = 0.0,
    ) -> Answer | None:
        """Answer with the run from its beginning, or `after` so many items, and on to its end.

        Args:
            run_id: The id that the run was, or will be, started with.
            after: How many items the reader has, or what `headgate.runs.cursors.cursor` makes of
                the id of an event. A negative number begins so many items before the end; in `sse`
                the event of the end is one, too.
            only_active: Whether a run that has ended already is of no use.
            wait: Seconds for which a run is waited for that has not been started yet.

        Returns:
            The answer; None when there is no such run, or it has ended and the reader has it all.

        Raises:
            Unavailable: The server is away, or these `Runs` were closed while a run was waited for.
            ProtocolError: What is there is not a run.
        """
        twin = self._call(
            lambda twin: twin.follow(run_id, after, only_active=only_active, wait=wait)
        )
        return None if twin is None else answer_of(twin)

    def stop(self, run_id: str) -> bool:
        """Stop the run, wherever it is produced; return False if there is none, or it has ended.

        Its producer acknowledges the stop within milliseconds, and ends the run within its
        `stop_grace`. If it does not within the time of a heartbeat, the run is ended here. Whatever
        happens to this process meanwhile, the stop is not lost: whoever looks at the run next ends
        it, and nobody takes it over.
        """
        return self._call(lambda twin: twin.stop(run_id))

    def stopped(self, run_id: str) -> threading.Event:
        """Return an event for the source of a run, which is set when the run is to stop.

        A source that has asked for it may go on for `stop_grace` seconds after it was set, and what
        it gives then is written. Any other is closed at once. LookupError if the run is not
        produced here.
        """
        return self._stopped(run_id)

    def state(self, run_id: str) -> RunState | None:
        """Return what has become of the run; None if there is none."""
        return self._call(lambda twin: twin.state(run_id))

    def delete(self, run_id: str) -> bool:
        """Stop the run, if it goes on, and delete it; return False if there is none.

        Its readers get an error.
        """
        return self._call(lambda twin: twin.delete(run_id))

    def close(self, wait: float = 10.0) -> None:
        """Let the runs that are produced here end within `wait` seconds, then end them.

        Readers are cut then, of whatever run: they can go on at another replica.
        """
        self._close(lambda twin: twin.aclose(wait))
