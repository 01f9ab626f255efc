"""Handlers that their connection steps: what the module says of them, each with a test."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
import weakref
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate_gateway import later
from headgate_gateway.later import TURN_S, Later
from headgate_gateway.stepped import Step, in_task
from tests.support.examples import examples
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")
Handler: TypeAlias = Coroutine[Any, Any, Any]

FOR_EVER_S = 60.0
NAME = contextvars.ContextVar("NAME", default="nobody's")


async def outside(call: Callable[..., T], *arguments: object) -> T:
    """Call something as the loop calls a protocol: outside of any task."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            done.set_result(call(*arguments))
        except Exception as error:  # noqa: BLE001 - raised where this is awaited
            done.set_exception(error)

    loop.call_soon(run)
    return await done


class Run:
    """A step, and how it has ended: each time that it was said to."""

    def __init__(self, handler: Handler, context: contextvars.Context | None = None) -> None:
        self.ends: list[tuple[Any, BaseException | None]] = []
        self.handler = handler
        self.step = Step(lambda: handler, self._end, context)

    def _end(self, value: object, error: BaseException | None) -> None:
        self.ends.append((value, error))
        self.handler.close()  # which has not begun where the step was cancelled before

    @property
    def is_cancelled(self) -> bool:
        return [type(error) for _, error in self.ends] == [asyncio.CancelledError]


async def started(handler: Handler, context: contextvars.Context | None = None) -> Run:
    """Return a step that was started outside of any task."""
    run = Run(handler, context)
    await outside(run.step.run)
    return run


async def waiting(later: Later[T]) -> T:
    return await later


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Fail where a test leaves a step that is to be resumed."""
    yield
    assert not later.turn.ready
    assert later.turn.depth == 0


# ---------------------------------------------------------------- results


async def test_a_handler_that_awaits_nothing_is_done_when_run_returns() -> None:
    async def answer() -> int:
        return 1

    run = Run(answer())

    def start() -> list[tuple[Any, BaseException | None]]:
        run.step.run()
        return [*run.ends]

    assert await outside(start) == [(1, None)]
    assert run.step.done()
    assert run.step.task is None


async def test_an_error_raised_by_a_handler_is_passed_to_on_done() -> None:
    async def fail() -> None:
        raise KeyError("key")

    run = await started(fail())
    assert [type(error) for _, error in run.ends] == [KeyError]


async def _returns_one() -> int:
    return 1


async def _raises() -> int:
    raise KeyError


def _raises_at_once() -> int:
    raise KeyError


@pytest.mark.parametrize("begin", [_returns_one, _raises, _raises_at_once])
async def test_an_error_in_on_done_has_no_context_from_the_handler(
    begin: Callable[[], Any],
) -> None:
    """What is behind it is the next request of a connection, and may be another client's."""
    behind: list[Exception] = []

    def on_done(_: object, _error: BaseException | None) -> None:
        try:
            int("")
        except ValueError as error:
            behind.append(error)

    await outside(Step(begin, on_done).run)
    assert [error.__context__ for error in behind] == [None]


class _Marked(Exception):
    """An error that a weak reference may tell of."""


async def _raises_marked(marks: list[weakref.ref[_Marked]]) -> None:
    error = _Marked()
    marks.append(weakref.ref(error))
    try:
        raise error
    finally:
        del error


@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_the_error_of_a_handler_is_freed_without_garbage_collection(
    is_coroutine: bool,
) -> None:
    marks: list[weakref.ref[_Marked]] = []

    def at_once() -> None:
        _raises_marked(marks).send(None)

    begin = partial(_raises_marked, marks) if is_coroutine else at_once
    gc.disable()
    try:
        await outside(Step(begin, lambda *_: None).run)
        assert [mark() for mark in marks] == [None]
    finally:
        gc.enable()


async def test_all_waiters_of_a_later_get_its_value_when_it_is_set() -> None:
    later: Later[int] = Later()
    steps = [await started(waiting(later)) for _ in range(2)]
    task = asyncio.create_task(waiting(later))
    await asyncio.sleep(0)
    assert not later.done()
    await outside(later.set_result, 1)
    assert [run.ends for run in steps] == [[(1, None)]] * 2
    assert await task == 1
    assert (await started(waiting(later))).ends == [(1, None)]
    assert [run.step.task for run in steps] == [None, None]


async def test_all_waiters_of_a_later_get_its_error_without_a_growing_traceback() -> None:
    later: Later[int] = Later()
    error = ValueError("no")
    runs = [await started(waiting(later)) for _ in range(50)]
    await outside(later.set_exception, error)
    assert [run.ends for run in runs] == [[(None, error)]] * 50
    frames, trace = 0, error.__traceback__
    while trace is not None:
        frames, trace = frames + 1, trace.tb_next
    assert frames < 10


async def test_setting_a_later_twice_is_refused() -> None:
    later: Later[int] = Later()
    later.set_result(1)
    for again in (partial(later.set_result, 2), partial(later.set_exception, ValueError())):
        with pytest.raises(asyncio.InvalidStateError):
            again()
    run = await started(waiting(later))
    assert run.ends == [(1, None)]


async def test_a_handler_that_awaits_asyncio_continues_as_a_task_and_runs_once() -> None:
    later: Later[int] = Later()
    begun: list[None] = []

    async def handler() -> int:
        begun.append(None)
        await asyncio.sleep(0)
        async with asyncio.timeout(FOR_EVER_S):
            return await later + 1

    run = await started(handler())
    assert run.step.task is not None
    await asyncio.sleep(0.001)
    await outside(later.set_result, 1)
    await until(run.step.done)
    assert (run.ends, begun) == ([(2, None)], [None])


# ---------------------------------------------------------------- no step runs inside a task


async def needs_a_task() -> None:
    async with asyncio.timeout(FOR_EVER_S):
        await asyncio.sleep(0)


async def asks_for_its_task() -> str:
    task = asyncio.current_task()
    assert task is not None, "no task"
    return task.get_name()


async def after(later: Later[None], handler: Handler) -> Any:
    await later
    return await handler


@pytest.mark.parametrize(
    ("handler", "error"), [(needs_a_task, RuntimeError), (asks_for_its_task, AssertionError)]
)
async def test_a_call_that_needs_a_task_fails_in_a_step_that_another_task_resumes(
    handler: Callable[[], Handler], error: type[Exception]
) -> None:
    later: Later[None] = Later()
    run = await started(after(later, handler()))
    later.set_result(None)  # by the task of this test
    assert run.ends == []
    await until(run.step.done)
    assert [type(failure) for _, failure in run.ends] == [error]


@pytest.mark.parametrize("handler", [needs_a_task, asks_for_its_task])
async def test_a_call_that_needs_a_task_works_after_in_task(handler: Callable[[], Handler]) -> None:
    async def goes_on() -> Any:
        await in_task()
        return await handler()

    run = await started(goes_on())
    await until(run.step.done)
    assert [error for _, error in run.ends] == [None]


async def test_in_task_inside_a_task_returns_without_a_pass_of_the_loop() -> None:
    passes: list[None] = []
    asyncio.get_running_loop().call_soon(passes.append, None)
    await in_task()
    assert passes == []


async def test_a_step_started_inside_a_task_begins_outside_of_that_task() -> None:
    run = Run(asks_for_its_task())
    run.step.run()
    assert run.ends == []
    await until(run.step.done)
    assert [type(error) for _, error in run.ends] == [AssertionError]


# ---------------------------------------------------------------- order


async def test_a_step_that_another_step_wakes_is_resumed_after_the_ready_ones() -> None:
    first: Later[None] = Later()
    second: Later[None] = Later()
    order: list[str] = []

    async def sets() -> None:
        await first
        second.set_result(None)
        order.append("has set")

    async def waits(later: Later[None], name: str) -> None:
        await later
        order.append(name)

    runs = [
        await started(handler)
        for handler in (waits(second, "behind"), sets(), waits(first, "was ready"))
    ]
    await outside(first.set_result, None)
    assert order == ["has set", "was ready", "behind"]
    assert all(run.step.done() for run in runs)


async def test_a_long_chain_of_steps_does_not_recurse() -> None:
    laters: list[Later[None]] = [Later() for _ in range(2001)]

    async def link(number: int) -> None:
        await laters[number]
        laters[number + 1].set_result(None)

    runs = [await started(link(number)) for number in range(2000)]
    await outside(laters[0].set_result, None)
    await until(laters[-1].done)
    assert all(run.ends == [(None, None)] for run in runs)


@pytest.mark.parametrize("others", [0, 5])
async def test_steps_yield_to_the_loop_after_two_milliseconds(others: int) -> None:
    """However many others there are in a pass, whose steps resume steps as well."""
    later: Later[None] = Later()
    each_s = TURN_S / 4
    passes: list[int] = []
    done: list[int] = []
    their_runs: list[Run] = []

    async def handler(number: int) -> None:
        await later
        ends = time.perf_counter() + each_s
        while time.perf_counter() < ends:
            pass
        done.append(number)

    async def another(own: Later[None]) -> None:
        own.set_result(None)

    def begin_another() -> None:
        own: Later[None] = Later()
        their_runs.extend([Run(waiting(own)), Run(another(own))])
        for run in their_runs[-2:]:
            run.step.run()

    runs = [await started(handler(number)) for number in range(40)]
    loop = asyncio.get_running_loop()
    loop.call_soon(later.set_result, None)
    while len(done) < len(runs):
        for _ in range(others):
            loop.call_soon(begin_another)
        await asyncio.sleep(0)
        passes.append(len(done))
    # A pass may end early on a busy machine, and never begins a fifth one.
    steps = [here - before for before, here in zip([0, *passes], passes, strict=False)]
    assert done == list(range(40))
    assert max(steps) <= 4
    await until(lambda: all(run.ends == [(None, None)] for run in [*runs, *their_runs]))


# ---------------------------------------------------------------- contexts


async def test_a_step_keeps_its_own_context_when_resumed_and_in_its_task() -> None:
    later: Later[None] = Later()

    async def handler(name: str) -> list[str]:
        token = NAME.set(name)
        await later
        seen = [NAME.get()]
        await asyncio.sleep(0)
        seen.append(NAME.get())
        NAME.reset(token)  # another context would refuse that
        return [*seen, NAME.get()]

    runs = [await started(handler(name), contextvars.copy_context()) for name in "ab"]
    NAME.set("who sets")
    later.set_result(None)
    await until(lambda: all(run.step.done() for run in runs))
    assert [run.ends for run in runs] == [[([name, name, "nobody's"], None)] for name in "ab"]
    assert NAME.get() == "who sets"


# ---------------------------------------------------------------- cancelling


async def at_once(call: Callable[[], object]) -> None:
    """Call something in the task of the test."""
    call()


@pytest.mark.parametrize("is_outside", [True, False])
async def test_a_step_cancelled_before_it_begins_does_not_begin(is_outside: bool) -> None:
    begun: list[None] = []

    async def handler() -> None:
        begun.append(None)

    run = Run(handler())
    if is_outside:
        asyncio.get_running_loop().call_soon(run.step.cancel)
    run.step.run()  # in a task, and so behind what is scheduled
    if not is_outside:
        run.step.cancel()
    await until(run.step.done)
    assert run.is_cancelled
    assert begun == []


@pytest.mark.parametrize("cancel", [outside, at_once])
async def test_a_cancelled_step_that_waited_for_a_later_is_no_longer_its_waiter(
    cancel: Callable[[Callable[[], object]], Awaitable[object]],
) -> None:
    later: Later[None] = Later()
    run = await started(waiting(later))
    for _ in range(2):
        await cancel(run.step.cancel)
    await until(run.step.done)
    assert run.is_cancelled
    assert not later._waiters
    await outside(later.set_result, None)
    await cancel(run.step.cancel)
    assert run.is_cancelled


async def test_a_step_whose_later_is_already_set_can_still_be_cancelled() -> None:
    later: Later[None] = Later()
    runs: list[Run] = []

    async def cancels() -> None:
        await later
        runs[1].step.cancel()

    runs += [await started(handler) for handler in (cancels(), waiting(later))]
    await outside(later.set_result, None)
    assert runs[1].is_cancelled


async def test_the_cleanup_of_a_cancelled_step_may_await() -> None:
    first: Later[None] = Later()
    second: Later[str] = Later()

    async def handler() -> str:
        try:
            await first
        finally:
            seen.append(await second)
        return "not reached"

    seen: list[str] = []
    run = await started(handler())
    await outside(run.step.cancel)
    assert run.ends == []
    await outside(second.set_result, "cleaned up")
    assert run.is_cancelled
    assert seen == ["cleaned up"]


async def test_two_cancels_of_a_waiting_step_count_as_one() -> None:
    first: Later[None] = Later()
    second: Later[None] = Later()

    async def handler() -> None:
        try:
            await first
        finally:
            await second

    run = await started(handler())
    asyncio.get_running_loop().call_soon(run.step.cancel)
    run.step.cancel()  # in a task: it is to see that in the next pass, behind the other one
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert run.ends == []
    await outside(second.set_result, None)
    assert run.is_cancelled


@pytest.mark.parametrize("what", ["a later", "asyncio", "a task", "nothing"])
async def test_a_step_cancelled_while_it_runs_is_cancelled_at_its_next_await(
    what: str,
) -> None:
    later: Later[None] = Later()
    other = asyncio.create_task(asyncio.sleep(FOR_EVER_S))

    async def handler() -> str:
        run.step.cancel()
        if what == "a later":
            await later
        elif what == "asyncio":
            await asyncio.sleep(FOR_EVER_S)
        elif what == "a task":
            await other
        return "answer"

    run = Run(handler())
    await outside(run.step.run)
    await until(run.step.done)
    assert run.is_cancelled if what != "nothing" else run.ends == [("answer", None)]
    assert not later._waiters
    await asyncio.sleep(0)
    assert other.cancelled() == (what == "a task"), "as of a task that awaits another"
    other.cancel()


@pytest.mark.parametrize("has_begun", [True, False])
async def test_cancelling_a_step_in_its_task_runs_its_cleanup_to_the_end(
    has_begun: bool,
) -> None:
    other = asyncio.create_task(asyncio.sleep(FOR_EVER_S))
    seen: list[str] = []

    async def handler() -> None:
        try:
            await other
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    run = Run(handler())
    if has_begun:
        await outside(run.step.run)
        await asyncio.sleep(0.001)
        await outside(run.step.cancel)
    else:

        def start_and_cancel() -> None:
            run.step.run()
            run.step.cancel()

        await outside(start_and_cancel)
    await until(run.step.done)
    assert run.is_cancelled
    assert seen == ["cleaned up"]
    assert other.cancelled(), "as of a task that awaits another"


async def test_a_task_that_stops_waiting_for_a_later_leaves_the_other_waiters() -> None:
    later: Later[int] = Later()
    leaves, stays = (asyncio.create_task(waiting(later)) for _ in range(2))
    run = await started(waiting(later))
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    assert len(later._waiters or ()) == 2
    await outside(later.set_result, 1)
    assert (await stays, run.ends) == (1, [(1, None)])


# ---------------------------------------------------------------- on_done


async def test_an_error_in_on_done_reaches_neither_the_setter_nor_other_steps() -> None:
    later: Later[int] = Later()
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    failure = KeyError("on_done")

    def fail(value: object, error: object) -> None:
        raise failure

    broken = Step(lambda: waiting(later), fail)
    await outside(broken.run)
    run = await started(waiting(later))
    await outside(later.set_result, 1)
    assert run.ends == [(1, None)]
    assert [context["exception"] for context in told] == [failure]
    assert broken.done()


# ---------------------------------------------------------------- any program

LATERS, STEPS = 4, 5
_LATER, _STEP = st.integers(0, LATERS - 1), st.integers(0, STEPS - 1)
_MOVE = st.one_of(
    st.tuples(st.sampled_from(["wait", "wait, come what may"]), _LATER),
    st.tuples(st.just("set"), _LATER),
    st.tuples(st.just("cancel"), _STEP),
    st.tuples(st.sampled_from(["sleep", "go on in a task", "wait for a task"]), st.just(0)),
)
_DEED = st.one_of(
    st.tuples(st.just("start"), _STEP),
    st.tuples(st.just("set"), _LATER),
    st.tuples(st.just("cancel"), _STEP),
    st.tuples(st.just("pause"), st.just(0)),
)


class World:
    """Steps that wait for, set and cancel each other, and a model of what they may see."""

    def __init__(self, programs: list[list[tuple[str, int]]]) -> None:
        self.laters: list[Later[int]] = [Later() for _ in range(LATERS)]
        self.waits: list[list[int]] = [[] for _ in range(LATERS)]  # in their order
        self.resumed: list[list[int]] = [[] for _ in range(LATERS)]
        self.running: list[int] = []  # the innermost last
        self.started: set[int] = set()
        self.over: set[int] = set()  # their tasks may not have been told yet
        self.cancels: Counter[int] = Counter()  # calls for a step that had not ended
        self.seen: Counter[int] = Counter()  # CancelledErrors
        self.must_see: set[int] = set()
        self.runs = [
            Run(self._play(number, program), contextvars.copy_context())
            for number, program in enumerate(programs)
        ]

    def do(self, deed: str, number: int) -> None:
        """Start or cancel a step, or set a Later."""
        if deed == "set" and not self.laters[number].done():
            self.laters[number].set_result(number)
        elif deed == "start" and number not in self.started:
            self.started.add(number)
            self.runs[number].step.run()
        elif deed == "cancel" and number in self.started and not self.runs[number].ends:
            self.cancels[number] += 1
            if number not in self.running and number not in self.over:
                self.must_see.add(number)
            self.runs[number].step.cancel()

    async def _play(self, number: int, program: list[tuple[str, int]]) -> list[int]:
        found = []
        for move, operand in program:
            self._check_place(number)
            if move.startswith("wait") and move != "wait for a task":
                try:
                    found.append(await self._wait(number, operand))
                except asyncio.CancelledError:
                    self.seen[number] += 1
                    if move == "wait":
                        raise
            elif move in {"set", "cancel"}:
                self.running.append(number)
                self.do(move, operand)
                assert self.running.pop() == number, "a step began inside another's"
            else:
                await self._asyncio(number, move)
        self._check_place(number)
        self.over.add(number)
        return found

    async def _wait(self, number: int, later: int) -> int:
        waits = not self.laters[later].done() and asyncio.current_task() is None
        if waits:
            self.waits[later].append(number)
        value = await self.laters[later]
        if waits:
            self.resumed[later].append(number)
        return value

    async def _asyncio(self, number: int, move: str) -> None:
        try:
            if move == "sleep":
                await asyncio.sleep(0)
            elif move == "go on in a task":
                await in_task()
            else:
                await asyncio.create_task(asyncio.sleep(0))
        except asyncio.CancelledError:
            self.seen[number] += 1
            raise

    def _check_place(self, number: int) -> None:
        assert asyncio.current_task() is self.runs[number].step.task

    async def play(self, deeds: list[tuple[bool, str, int]]) -> None:
        """Do all this, then what lets every step end, and compare."""
        for is_outside, deed, number in deeds:
            if deed == "pause":
                await asyncio.sleep(0)
            elif is_outside:
                await outside(self.do, deed, number)
            else:
                self.do(deed, number)
        for number in range(STEPS):
            await outside(self.do, "start", number)
        for number in range(LATERS):
            await outside(self.do, "set", number)
        await until(lambda: all(run.step.done() for run in self.runs))
        self._compare()

    def _compare(self) -> None:
        for number, run in enumerate(self.runs):
            ((_, error),) = run.ends
            is_cancelled = isinstance(error, asyncio.CancelledError)
            assert error is None or is_cancelled, error
            assert not is_cancelled or self.cancels[number]
            assert self.seen[number] <= self.cancels[number]
            # It was not begun then, or has seen it.
            assert number not in self.must_see or is_cancelled or self.seen[number]
        for waits, resumed in zip(self.waits, self.resumed, strict=True):
            rest = iter(waits)
            assert all(number in rest for number in resumed), (waits, resumed)
        assert not any(later._waiters for later in self.laters)
        assert not later.turn.ready
        assert later.turn.depth == 0


@pytest.mark.parametrize(
    "run", [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")]
)
@given(
    programs=st.lists(st.lists(_MOVE, max_size=6), min_size=STEPS, max_size=STEPS),
    deeds=st.lists(st.tuples(st.booleans(), _DEED), max_size=15),
)
@settings(max_examples=examples(150))
def test_every_step_of_a_random_program_ends_once_and_in_order(
    run: Callable[[Coroutine[Any, Any, None]], None],
    programs: list[list[tuple[str, int]]],
    deeds: list[tuple[bool, tuple[str, int]]],
) -> None:
    async def play() -> None:
        await World(programs).play([(is_outside, *deed) for is_outside, deed in deeds])

    run(play())
