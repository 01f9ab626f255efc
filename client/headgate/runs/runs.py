"""Runs: started here or elsewhere, followed, stopped and looked at by their ids."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import warnings
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from headgate.endpoint import (
    IDLE_TIMEOUT_S,
    check_timeout,
    checked_base,
    checked_headers,
    credential_of,
)
from headgate.errors import ABSENT, ProtocolError, Unavailable, check_number
from headgate.misuse import (
    NAME_THE_RUN,
    ForAsyncio,
    check_error_text,
    check_make_source,
    checks_keywords,
    refusing_method,
)
from headgate.names import shown
from headgate.records import ACTIVE, ORPHAN_AFTER_S, beat_s
from headgate.retries import Backoff
from headgate.runs.answer import Answer
from headgate.runs.cursors import Cursor
from headgate.runs.formats import format_named
from headgate.runs.opening import NotOrphaned, Opening, Start
from headgate.runs.sources import iterator_of
from headgate.runs.stored.orphans import delete, is_active, settled, state_of, stop
from headgate.runs.stored.places import check_type, place
from headgate.runs.stored.production import RunRules, class_name, close
from headgate.runs.stored.progress import survey
from headgate.runs.stored.reading import Reading, begun
from headgate.stream_requests import StreamRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import aiohttp

    from headgate.endpoint import Authorization
    from headgate.records import RunState
    from headgate.runs.formats import Format, FormatName
    from headgate.runs.sources import RunSource
    from headgate.runs.stored.places import Place
    from headgate.runs.stored.progress import Written

log = logging.getLogger("headgate.runs")

DAY_S = 24 * 3600
FIRST_LOOK_S, LOOK_AGAIN_S = 0.05, 0.5  # for a run that has not been started yet
# Of all answers: no cache, nginx or proxy that compresses may hold back what comes.
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


class Runs(ForAsyncio):
    """The runs below one URL of a Durable Streams server. Times are in seconds.

    ```python
    async with headgate.Runs("http://127.0.0.1:4437/v1/stream/runs") as runs:
        answer = await runs.start("run-17", source)
    ```

    Args:
        url: The URL below which the streams of the runs are.
        authorization: The value of the `Authorization` field, or a function that returns it.
        headers: Other header fields of all requests.
        timeout: Seconds that a response may take to begin, and each of its parts; 60 by default.
            Live reads have another one.
        session: The aiohttp session of the requests; without one, `Runs` makes its own.
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
    def __init__(  # noqa: PLR0913 - the settings of an application, each by its name
        self,
        url: str,
        *,
        authorization: Authorization | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = IDLE_TIMEOUT_S,
        session: aiohttp.ClientSession | None = None,
        orphan_after: int = ORPHAN_AFTER_S,
        ttl: int | None = DAY_S,
        stop_grace: float = 2.0,
        retry_for: float = 30.0,
        error_text: Callable[[Exception], str] = class_name,
        takeover_within: int = 0,
    ) -> None:
        check_number("orphan_after", orphan_after, 1, is_whole=True)
        if ttl is not None:
            check_number("ttl", ttl, is_whole=True)
            if ttl < orphan_after:
                raise ValueError(
                    f"ttl is at least {orphan_after} (orphan_after) seconds, not {ttl}"
                )
        check_number("stop_grace", stop_grace)
        check_number("retry_for", retry_for)
        check_number("takeover_within", takeover_within, is_whole=True)
        if takeover_within and not orphan_after <= takeover_within <= (ttl or math.inf):
            least = f"{orphan_after} (orphan_after)"
            within = f"at least {least}" if ttl is None else f"from {least} to {ttl} (ttl)"
            raise ValueError(
                f"takeover_within is 0, or {within} seconds, and not {takeover_within}"
            )
        check_error_text(error_text)
        # TypeError or ValueError for what no run can be below, and for what no header can hold.
        self._url = checked_base(url)
        self._credential = credential_of(authorization)
        self._headers = checked_headers(headers)
        check_timeout("timeout", timeout)
        self._timeout = timeout
        self._session = session
        self._rules = RunRules(
            orphan_after, ttl, stop_grace, retry_for, error_text, takeover_within
        )
        self._opening = Opening(session, self._rules)

    @override
    def __repr__(self) -> str:
        return f"Runs({shown(self._url)!r})"

    if not TYPE_CHECKING:
        __call__ = refusing_method(NAME_THE_RUN)

    def __del__(self) -> None:
        opening: Opening | None = getattr(self, "_opening", None)
        if opening is not None and opening.abandon():
            warn = f"{self!r} was not closed: use it in `async with`, or call its `aclose`"
            log.warning(warn)
            warnings.warn(warn, ResourceWarning, source=self, stacklevel=2)

    async def __aenter__(self) -> Self:
        if self._opening.is_over():
            self._opening = Opening(self._session, self._rules)
        self._opening.check()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def start(
        self,
        run_id: str,
        source: RunSource,
        *,
        format: FormatName = "text",  # noqa: A002
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
        items, opening = iterator_of(source), self._opening
        try:
            form, run = format_named(format), self._place(run_id)
            start = Start(run, form, opening)
            production = await start.begun(form.opening(run_id, message_id))
        except BaseException:
            await close(items)
            raise
        opening.produce(run_id, production, items, self)
        return self._answer(run, form, Reading(run.items, form=form, is_new=True))

    async def take_over(
        self,
        run_id: str,
        make_source: Callable[[Written], RunSource],
        *,
        format: FormatName = "text",  # noqa: A002
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
        if not (closes or self._rules.takeover_within_s):
            raise ValueError("a run that goes on needs Runs(..., takeover_within=SECONDS)")
        check_make_source(make_source)
        form, run, opening = format_named(format), self._place(run_id), self._opening
        start = Start(run, form, opening, goes_on=True, only_orphaned=only_orphaned, closes=closes)
        try:
            production = await start.begun(form.opening(run_id, message_id))
        except NotOrphaned:
            return None
        try:
            items = iterator_of(make_source(start.written))
        except BaseException:
            await start.withdraw()
            raise
        await opening.produce_to_end(run_id, production, items, self)
        return production.outcome

    async def follow(
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
        if not isinstance(after, int | Cursor | None):
            raise TypeError(
                f"`after` counts items, as an int, or is a Cursor, and is no {type(after).__name__}"
            )
        check_number("wait", wait, is_finite=True)
        run = self._place(run_id)
        closing = self._opening.closing  # of this call: `Runs` may be opened again meanwhile
        waits = Backoff(FIRST_LOOK_S, LOOK_AGAIN_S)
        give_up_at = asyncio.get_running_loop().time() + wait
        while True:
            try:
                return await self._followed(run, after, only_active=only_active)
            except ABSENT:
                left_s = give_up_at - asyncio.get_running_loop().time()
                if left_s <= 0:
                    return None
            only_active = False  # whatever begins from now on is new to who has waited for it
            with contextlib.suppress(TimeoutError):
                # `asyncio.wait_for` may lose a cancellation before Python 3.12.
                async with asyncio.timeout(min(waits.next_s(), left_s)):
                    await closing.wait()
            if closing.is_set():
                raise Unavailable(f"{self!r} was closed", stream=run.items.shown)

    async def _followed(
        self, run: Place, after: int | Cursor | None, *, only_active: bool
    ) -> Answer | None:
        """Answer as `follow` does. Raises ABSENT where there is no such run."""
        tail: int | None = None
        if only_active and not await is_active(run):
            return None
        if isinstance(after, int) and after < 0:
            tail = (await survey(run.items)).count - 1
            after = max(0, tail + 1 + after)
        reading = await begun(run, after or 0)
        if not reading.has_something:
            return None
        if reading.seen.format is None:
            raise ProtocolError("this stream is not a run", stream=run.items.shown)
        return self._answer(run, reading.seen.format, reading, tail)

    async def stop(self, run_id: str) -> bool:
        """Stop the run, wherever it is produced; return False if there is none, or it has ended.

        Its producer acknowledges the stop within milliseconds, and ends the run within its
        `stop_grace`. If it does not within the time of a heartbeat, the run is ended here. Whatever
        happens to this process meanwhile, the stop is not lost: whoever looks at the run next ends
        it, and nobody takes it over.
        """
        return await stop(self._place(run_id), self._rules.ttl_s)

    def stopped(self, run_id: str) -> asyncio.Event:
        """Return an event for the source of a run, which is set when the run is to stop.

        A source that has asked for it may go on for `stop_grace` seconds after it was set, and what
        it gives then is written. Any other is closed at once. LookupError if the run is not
        produced here.
        """
        check_type(run_id)
        try:
            return self._opening.produced[run_id].stopped()
        except KeyError:
            raise LookupError(f"run {run_id!r} is not produced here") from None

    async def state(self, run_id: str) -> RunState | None:
        """Return what has become of the run; None if there is none."""
        return await state_of(self._place(run_id))

    async def delete(self, run_id: str) -> bool:
        """Stop the run, if it goes on, and delete it; return False if there is none.

        Its readers get an error.
        """
        run = self._place(run_id)
        is_asked = await self.stop(run_id)
        return await delete(run, end_within_s=self._rules.stop_grace_s + 1 if is_asked else 0)

    async def aclose(self, wait: float = 10.0) -> None:
        """Let the runs that are produced here end within `wait` seconds, then end them.

        Readers are cut then, of whatever run: they can go on at another replica.
        """
        await self._opening.close(wait)

    def _answer(
        self, run: Place, form: Format, reading: Reading, tail: int | None = None
    ) -> Answer:
        fields = {**HEADERS, "Content-Type": form.media_type, **form.headers(run.id, tail)}
        self._opening.readings.add(reading)
        body = reading.body(lambda: self._look(run), beat_s(self._rules.orphan_after_s))
        return Answer(200, fields, body)

    async def _look(self, run: Place) -> RunState:
        """End the run if its producer is gone, which is not so where it is here."""
        return ACTIVE if run.id in self._opening.produced else await settled(run)

    def _place(self, run_id: str) -> Place:
        """Return the streams of the run of this id, to be used before `aclose`.

        Raises TypeError or ValueError for what cannot be an id, and RuntimeError after `aclose` and
        in another event loop than the first.
        """
        self._opening.check()
        base = StreamRequests(
            self._url,
            authorization=self._credential,
            headers=self._headers,
            timeout=self._timeout,
            session=self._opening.session,
        )
        return place(base, run_id)
