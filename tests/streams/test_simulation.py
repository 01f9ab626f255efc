"""Gateways on a Redis that fails in every way: some runs of the simulation."""

from __future__ import annotations

import itertools

import pytest

from headgate_gateway.streams import outcomes, writes
from tests.streams.simulation.run import run
from tests.support.examples import cases

BATCH = 2  # `make torture` takes 5,000


@pytest.mark.parametrize("first", cases(range(40, 52, BATCH), {44}, "other seeds"))
def test_the_log_keeps_its_promises_in_simulated_runs_of_a_faulty_redis(first: int) -> None:
    for seed in range(first, first + BATCH):
        world = run(seed)
        assert not world.faults, (seed, world, world.faults)


def test_two_simulation_runs_with_one_seed_have_equal_diaries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = run(7).diary
    moments = itertools.count()
    for module in (outcomes, writes):  # as on a busy machine
        monkeypatch.setattr(module, "perf_counter", lambda: float(next(moments)))
    assert run(7).diary == quick
